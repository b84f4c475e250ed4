# The lab: see lab/README.md. Included by the Makefile; run from the top of the repository.
TIER ?= control

# What fresh Debian lacks. The lab needs BIND's program, not a name server on the machine; zstd packs the image. Boulder
# has its data in MariaDB and Redis: these packages are programs without services, and redis-tools has the server too.
LAB_PACKAGES = bind9 bind9-dnsutils curl iproute2 jq libfaketime mariadb-client-core mariadb-server-core nftables openssl \
  redis-tools runc zstd

# There if systemd runs.
SYSTEMD ?= /run/systemd/system

.PHONY: lab-deps lab-build lab-up lab-down

lab-deps:
	@set -e; missing=$$(for name in $(LAB_PACKAGES); do dpkg-query -Wf '$${Status}' $$name 2>/dev/null | grep -q ' installed$$' || echo $$name; done); \
	[ -n "$$missing" ] || exit 0; \
	[ "$$(id -u)" = 0 ] || { echo "lab-deps: only root can install what is missing:" $$missing >&2; exit 0; }; \
	apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	case " $$(echo $$missing) " in *" bind9 "*) [ ! -d $(SYSTEMD) ] || systemctl disable --now named;; esac

lab-build:
	lab/build $(TIER)

lab-up:
	cargo run --quiet --package lab -- up $(TIER) $(ARGS)

lab-down:
	cargo run --quiet --package lab -- down
