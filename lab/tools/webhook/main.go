// A webhook solver: cert-manager's own library for such, and behind it cert-manager's own solver for dynamic updates.
package main

import (
	"os"

	"github.com/cert-manager/cert-manager/pkg/acme/webhook/cmd"
	"github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/rfc2136"
)

func main() {
	cmd.RunWebhookServer(os.Getenv("GROUP_NAME"), rfc2136.New())
}
