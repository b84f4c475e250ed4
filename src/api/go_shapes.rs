//! The Go structs that names are hashed from, field by field in the order of their declaration.
//!
//! Source: cert-manager 1.21.1, `pkg/apis/acme/v1`, and the Kubernetes types that it embeds.
//! Tests compare the resulting names with those that cert-manager itself makes. One thing differs:
//! Go rewrites quantities (`0.5` as `500m`) before they are hashed, here they stay as written.

use super::go_json::{
    Absent, Field, Shape, Struct, duration, embed, field, list, opt, ptr, ptr_to, text,
};

/// Bytes that the name must not depend on: always null.
const NULL_REQUEST: Field = field("request", Shape::Plain, Absent::Write("null"));

/// The spec of an Order, with the request left out of it.
pub(super) const ORDER_SPEC: Struct = &[
    NULL_REQUEST,
    embed("issuerRef", ISSUER_REF),
    opt("commonName"),
    opt("dnsNames"),
    opt("ipAddresses"),
    duration("duration"),
    opt("profile"),
    opt("replaces"),
];

/// What is hashed for an Order of a request with a long name.
pub(super) const NAMED_ORDER_SPEC: Struct =
    &[text("certificateRequestName"), embed("spec", ORDER_SPEC)];

/// The spec of a Challenge.
pub(super) const CHALLENGE_SPEC: Struct = &[
    text("url"),
    text("authorizationURL"),
    text("dnsName"),
    field("wildcard", Shape::Plain, Absent::Write("false")),
    text("type"),
    text("token"),
    text("key"),
    embed("solver", SOLVER),
    embed("issuerRef", ISSUER_REF),
];

const ISSUER_REF: Struct = &[text("name"), opt("kind"), opt("group")];
const SECRET_KEY: Struct = &[text("name"), opt("key")];

const SOLVER: Struct = &[
    ptr_to(
        "selector",
        &[opt("matchLabels"), opt("dnsNames"), opt("dnsZones")],
    ),
    ptr_to(
        "http01",
        &[
            ptr_to("ingress", INGRESS),
            ptr_to("gatewayHTTPRoute", GATEWAY_HTTP_ROUTE),
        ],
    ),
    ptr_to("dns01", DNS01),
    duration("waitInsteadOfSelfCheck"),
];

const INGRESS: Struct = &[
    opt("serviceType"),
    ptr("ingressClassName"),
    ptr("class"),
    opt("name"),
    ptr_to("podTemplate", POD_TEMPLATE),
    ptr_to("ingressTemplate", &[embed("metadata", TEMPLATE_METADATA)]),
    // Everleaf's own: part of the name, so that a change makes another Challenge.
    opt("mode"),
];

const GATEWAY_HTTP_ROUTE: Struct = &[
    opt("serviceType"),
    opt("labels"),
    list(
        "parentRefs",
        &[
            ptr("group"),
            ptr("kind"),
            ptr("namespace"),
            text("name"),
            ptr("sectionName"),
            ptr("port"),
        ],
    ),
    ptr_to("podTemplate", POD_TEMPLATE),
];

const POD_TEMPLATE: Struct = &[
    embed("metadata", TEMPLATE_METADATA),
    embed("spec", POD_SPEC),
];
const TEMPLATE_METADATA: Struct = &[opt("annotations"), opt("labels")];

const POD_SPEC: Struct = &[
    opt("nodeSelector"),
    ptr_to("affinity", AFFINITY),
    list(
        "tolerations",
        &[
            opt("key"),
            opt("operator"),
            opt("value"),
            opt("effect"),
            ptr("tolerationSeconds"),
        ],
    ),
    opt("priorityClassName"),
    opt("serviceAccountName"),
    list("imagePullSecrets", &[opt("name")]),
    ptr_to("securityContext", SECURITY_CONTEXT),
    ptr_to("resources", &[opt("limits"), opt("requests")]),
];

const SECURITY_CONTEXT: Struct = &[
    ptr_to(
        "seLinuxOptions",
        &[opt("user"), opt("role"), opt("type"), opt("level")],
    ),
    ptr("runAsUser"),
    ptr("runAsGroup"),
    ptr("runAsNonRoot"),
    opt("supplementalGroups"),
    ptr("fsGroup"),
    list("sysctls", &[text("name"), text("value")]),
    ptr("fsGroupChangePolicy"),
    ptr_to("seccompProfile", &[text("type"), ptr("localhostProfile")]),
];

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const WEIGHT: Field = field("weight", Shape::Plain, Absent::Write("0"));

const AFFINITY: Struct = &[
    ptr_to(
        "nodeAffinity",
        &[
            ptr_to(
                REQUIRED,
                &[field(
                    "nodeSelectorTerms",
                    Shape::List(NODE_TERM),
                    Absent::Write("null"),
                )],
            ),
            list(PREFERRED, &[WEIGHT, embed("preference", NODE_TERM)]),
        ],
    ),
    ptr_to("podAffinity", POD_AFFINITY),
    ptr_to("podAntiAffinity", POD_AFFINITY),
];

const NODE_TERM: Struct = &[
    list("matchExpressions", REQUIREMENT),
    list("matchFields", REQUIREMENT),
];
const REQUIREMENT: Struct = &[text("key"), text("operator"), opt("values")];
const POD_AFFINITY: Struct = &[
    list(REQUIRED, POD_AFFINITY_TERM),
    list(
        PREFERRED,
        &[WEIGHT, embed("podAffinityTerm", POD_AFFINITY_TERM)],
    ),
];
const POD_AFFINITY_TERM: Struct = &[
    ptr_to("labelSelector", LABEL_SELECTOR),
    opt("namespaces"),
    text("topologyKey"),
    ptr_to("namespaceSelector", LABEL_SELECTOR),
    opt("matchLabelKeys"),
    opt("mismatchLabelKeys"),
];
const LABEL_SELECTOR: Struct = &[opt("matchLabels"), list("matchExpressions", REQUIREMENT)];

/// A DNS-01 solver.
pub(super) const DNS01: Struct = &[
    opt("cnameStrategy"),
    ptr_to(
        "akamai",
        &[
            text("serviceConsumerDomain"),
            embed("clientTokenSecretRef", SECRET_KEY),
            embed("clientSecretSecretRef", SECRET_KEY),
            embed("accessTokenSecretRef", SECRET_KEY),
        ],
    ),
    ptr_to(
        "cloudDNS",
        &[
            ptr_to("serviceAccountSecretRef", SECRET_KEY),
            text("project"),
            opt("hostedZoneName"),
        ],
    ),
    ptr_to(
        "cloudflare",
        &[
            opt("email"),
            ptr_to("apiKeySecretRef", SECRET_KEY),
            ptr_to("apiTokenSecretRef", SECRET_KEY),
        ],
    ),
    ptr_to("route53", ROUTE53),
    ptr_to("azureDNS", AZURE_DNS),
    ptr_to("digitalocean", &[embed("tokenSecretRef", SECRET_KEY)]),
    ptr_to(
        "acmeDNS",
        &[text("host"), embed("accountSecretRef", SECRET_KEY)],
    ),
    ptr_to(
        "rfc2136",
        &[
            text("nameserver"),
            embed("tsigSecretSecretRef", SECRET_KEY),
            opt("tsigKeyName"),
            opt("tsigAlgorithm"),
            opt("protocol"),
        ],
    ),
    ptr_to(
        "webhook",
        &[text("groupName"), text("solverName"), ptr("config")],
    ),
    opt("nameservers"),
];

const ROUTE53: Struct = &[
    ptr_to(
        "auth",
        &[ptr_to(
            "kubernetes",
            &[ptr_to(
                "serviceAccountRef",
                &[text("name"), opt("audiences")],
            )],
        )],
    ),
    opt("accessKeyID"),
    ptr_to("accessKeyIDSecretRef", SECRET_KEY),
    embed("secretAccessKeySecretRef", SECRET_KEY),
    opt("role"),
    opt("hostedZoneID"),
    opt("region"),
];

const AZURE_DNS: Struct = &[
    opt("clientID"),
    ptr_to("clientSecretSecretRef", SECRET_KEY),
    text("subscriptionID"),
    opt("tenantID"),
    text("resourceGroupName"),
    opt("hostedZoneName"),
    opt("environment"),
    ptr_to(
        "managedIdentity",
        &[opt("clientID"), opt("resourceID"), opt("tenantID")],
    ),
    opt("zoneType"),
];
