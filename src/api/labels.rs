//! Names that are part of the contract: groups, labels, annotations, finalizers, field managers.
//!
//! Source: contract §2.5, §3 and §4.6. Users and other programs rely on each of them.

/// Group of Certificate, `CertificateRequest`, Issuer and `ClusterIssuer`.
pub const GROUP: &str = "cert-manager.io";

/// The groups of the kinds that control others.
pub const GROUPS: [&str; 2] = [GROUP, "acme.cert-manager.io"];

/// Group of the kinds that are ours alone.
pub const OWN_GROUP: &str = "everleaf.io";

/// `apiVersion` of the kinds that are ours alone.
pub const OWN_API_VERSION: &str = "everleaf.io/v1alpha1";

/// The one version of both groups of cert-manager.
pub const VERSION: &str = "v1";

/// `apiVersion` of Certificate, `CertificateRequest`, Issuer and `ClusterIssuer`.
pub const API_VERSION: &str = "cert-manager.io/v1";

/// `apiVersion` of Order and Challenge.
pub const ACME_API_VERSION: &str = "acme.cert-manager.io/v1";

// On an Ingress, Gateway or ListenerSet: what the shim makes a Certificate from (§3.1).

/// Name of an Issuer, or of an external issuer with the two below.
pub const ISSUER_ANNOTATION: &str = "cert-manager.io/issuer";
/// Name of a `ClusterIssuer`.
pub const CLUSTER_ISSUER_ANNOTATION: &str = "cert-manager.io/cluster-issuer";
/// Common name; on a Secret, that of the certificate.
pub const COMMON_NAME_ANNOTATION: &str = "cert-manager.io/common-name";
/// DNS names; on a Secret, those of the certificate.
pub const ALT_NAMES_ANNOTATION: &str = "cert-manager.io/alt-names";
/// IP addresses; on a Secret, those of the certificate.
pub const IP_SANS_ANNOTATION: &str = "cert-manager.io/ip-sans";
/// E-mail addresses; on a Secret, those of the certificate.
pub const EMAIL_SANS_ANNOTATION: &str = "cert-manager.io/email-sans";
/// URIs of the certificate; written on Secrets, never read from an Ingress.
pub const URI_SANS_ANNOTATION: &str = "cert-manager.io/uri-sans";
/// Subject organizations, as one CSV record.
pub const SUBJECT_ORGANIZATIONS_ANNOTATION: &str = "cert-manager.io/subject-organizations";
/// Subject organizational units, as one CSV record.
pub const SUBJECT_ORGANIZATIONALUNITS_ANNOTATION: &str =
    "cert-manager.io/subject-organizationalunits";
/// Subject countries, as one CSV record.
pub const SUBJECT_COUNTRIES_ANNOTATION: &str = "cert-manager.io/subject-countries";
/// Subject provinces, as one CSV record.
pub const SUBJECT_PROVINCES_ANNOTATION: &str = "cert-manager.io/subject-provinces";
/// Subject localities, as one CSV record.
pub const SUBJECT_LOCALITIES_ANNOTATION: &str = "cert-manager.io/subject-localities";
/// Subject postal codes, as one CSV record.
pub const SUBJECT_POSTALCODES_ANNOTATION: &str = "cert-manager.io/subject-postalcodes";
/// Subject street addresses, as one CSV record.
pub const SUBJECT_STREETADDRESSES_ANNOTATION: &str = "cert-manager.io/subject-streetaddresses";
/// Subject serial number.
pub const SUBJECT_SERIALNUMBER_ANNOTATION: &str = "cert-manager.io/subject-serialnumber";
/// Lifetime, a Go duration.
pub const DURATION_ANNOTATION: &str = "cert-manager.io/duration";
/// Time before expiry to renew at, a Go duration.
pub const RENEW_BEFORE_ANNOTATION: &str = "cert-manager.io/renew-before";
/// Percent of the lifetime left at renewal.
pub const RENEW_BEFORE_PERCENTAGE_ANNOTATION: &str = "cert-manager.io/renew-before-percentage";
/// Key usages, comma separated.
pub const USAGES_ANNOTATION: &str = "cert-manager.io/usages";
/// Number of past requests to keep.
pub const REVISION_HISTORY_LIMIT_ANNOTATION: &str = "cert-manager.io/revision-history-limit";
/// Key algorithm.
pub const PRIVATE_KEY_ALGORITHM_ANNOTATION: &str = "cert-manager.io/private-key-algorithm";
/// Key encoding.
pub const PRIVATE_KEY_ENCODING_ANNOTATION: &str = "cert-manager.io/private-key-encoding";
/// Key size.
pub const PRIVATE_KEY_SIZE_ANNOTATION: &str = "cert-manager.io/private-key-size";
/// Key rotation policy.
pub const PRIVATE_KEY_ROTATION_POLICY_ANNOTATION: &str =
    "cert-manager.io/private-key-rotation-policy";
/// Secret template, as JSON.
pub const SECRET_TEMPLATE_ANNOTATION: &str = "cert-manager.io/secret-template";
/// Whether the ACME solver edits this Ingress.
pub const HTTP01_EDIT_IN_PLACE_ANNOTATION: &str = "acme.cert-manager.io/http01-edit-in-place";
/// `kubernetes.io/ingress.class` of the solver's Ingress.
pub const HTTP01_INGRESS_CLASS_ANNOTATION: &str = "acme.cert-manager.io/http01-ingress-class";
/// `ingressClassName` of the solver's Ingress.
pub const HTTP01_INGRESS_INGRESSCLASSNAME_ANNOTATION: &str =
    "acme.cert-manager.io/http01-ingress-ingressclassname";
/// The old way to name an Ingress class.
pub const INGRESS_CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// Label of `kubectl apply --applyset`, never copied to a Certificate.
pub const APPLYSET_PART_OF_LABEL: &str = "applyset.kubernetes.io/part-of";

// On the target Secret (§3.2).

/// Marks the Secrets that concern this project; its value is [`TRUE`].
pub const FAO_LABEL: &str = "controller.cert-manager.io/fao";
/// Name of the Certificate; on Secrets and requests.
pub const CERTIFICATE_NAME_ANNOTATION: &str = "cert-manager.io/certificate-name";
/// Name of the issuer that signed.
pub const ISSUER_NAME_ANNOTATION: &str = "cert-manager.io/issuer-name";
/// Kind of the issuer that signed, as written in the request; on an Ingress, of the issuer to use.
pub const ISSUER_KIND_ANNOTATION: &str = "cert-manager.io/issuer-kind";
/// Group of the issuer that signed, as written in the request; on an Ingress, of the one to use.
pub const ISSUER_GROUP_ANNOTATION: &str = "cert-manager.io/issuer-group";
/// Lets cainjector read the Secret.
pub const ALLOW_DIRECT_INJECTION_ANNOTATION: &str = "cert-manager.io/allow-direct-injection";

// On other objects (§3.3).

/// Marks the Secret of a key that awaits its certificate; its value is [`TRUE`].
pub const NEXT_PRIVATE_KEY_LABEL: &str = "cert-manager.io/next-private-key";
/// Which issuance a request belongs to, in decimal.
pub const CERTIFICATE_REVISION_ANNOTATION: &str = "cert-manager.io/certificate-revision";
/// Name of the Secret that holds the request's key.
pub const PRIVATE_KEY_SECRET_NAME_ANNOTATION: &str = "cert-manager.io/private-key-secret-name";
/// On an ACME issuer: limits of its CA, where they are not known or others (ours).
pub const ACME_LIMITS_ANNOTATION: &str = "everleaf.io/acme-limits";
/// On an ACME issuer: `off` to make orders without a look at their names first (ours).
pub const PREFLIGHT_ANNOTATION: &str = "everleaf.io/preflight";
/// On an ACME issuer: another one of the same kind, such as one at the CA's staging server, that is asked first once
/// attempts have failed (ours).
pub const REHEARSAL_ISSUER_ANNOTATION: &str = "everleaf.io/rehearsal-issuer";
/// On an ACME issuer: another value than the Secret of its account's key has asks for another key (ours).
pub const ROTATE_ACCOUNT_KEY_ANNOTATION: &str = "everleaf.io/rotate-account-key";
/// On an ACME issuer: the JWS algorithm of new account keys; RS256 when absent (ours).
pub const ACCOUNT_KEY_ALGORITHM_ANNOTATION: &str = "everleaf.io/account-key-algorithm";
/// On the Secret of an account's key: the value that the newest key in it was made for (ours).
pub const ACCOUNT_KEY_ROTATION_ANNOTATION: &str = "everleaf.io/account-key-rotation";
/// On a request: when those were made that count against its Certificate's budget (ours).
pub const REQUESTS_MADE_ANNOTATION: &str = "everleaf.io/requests-made";
/// On a request: how many attempts before it failed in a row, if there were several (ours).
pub const FAILED_ATTEMPTS_ANNOTATION: &str = "everleaf.io/failed-attempts";
/// On a request: its issuer's uid, generation and time of the last change as they were when it was made (ours).
pub const ISSUER_SEEN_ANNOTATION: &str = "everleaf.io/issuer-seen";
/// On a Certificate: the private key that is compromised, so that its certificates are revoked: the SHA-256 of its public key in
/// hex, or the front of that (ours).
pub const KEY_COMPROMISED_ANNOTATION: &str = "everleaf.io/key-compromised";
/// On a CertificateRevocation: the certificates that it is about, each as the SHA-256 of the certificate, `/`, and the SHA-256
/// of its public key, with commas in between (ours).
pub const REVOKES_ANNOTATION: &str = "everleaf.io/revokes";
/// On a Certificate: revoke its certificate when it is deleted; the reason in the words of RFC 5280 (ours).
pub const REVOKE_ON_DELETE_ANNOTATION: &str = "everleaf.io/revoke-on-delete";
/// Marks the ConfigMap of a revocation list; its value is [`TRUE`] (ours).
pub const REVOCATION_LIST_LABEL: &str = "everleaf.io/revocation-list";
/// [`MANAGED_BY_LABEL`] of what this operator makes in kinds of its own.
pub const MANAGED_BY_EVERLEAF: &str = "everleaf";
/// Asks for a temporary certificate while the real one is awaited.
pub const ISSUE_TEMPORARY_CERTIFICATE_ANNOTATION: &str =
    "cert-manager.io/issue-temporary-certificate";
/// The Ingress that the solver edits; from Certificate to Order.
pub const HTTP01_OVERRIDE_INGRESS_NAME_ANNOTATION: &str =
    "acme.cert-manager.io/http01-override-ingress-name";
/// `kubernetes.io/ingress.class` of the solver's Ingress; from Certificate to Order.
pub const HTTP01_OVERRIDE_INGRESS_CLASS_ANNOTATION: &str =
    "acme.cert-manager.io/http01-override-ingress-class";
/// `ingressClassName` of the solver's Ingress; from Certificate to Order.
pub const HTTP01_OVERRIDE_INGRESS_INGRESSCLASSNAME_ANNOTATION: &str =
    "acme.cert-manager.io/http01-override-ingress-ingressclassname";
/// Adler-32 of the name, on what a solver makes.
pub const HTTP_DOMAIN_LABEL: &str = "acme.cert-manager.io/http-domain";
/// Adler-32 of the token, on what a solver makes.
pub const HTTP_TOKEN_LABEL: &str = "acme.cert-manager.io/http-token";
/// Marks what an HTTP-01 solver makes; its value is [`TRUE`].
pub const HTTP01_SOLVER_LABEL: &str = "acme.cert-manager.io/http01-solver";
/// On a Challenge, until what it made is cleaned up.
pub const CHALLENGE_FINALIZER: &str = "acme.cert-manager.io/finalizer";
/// An old name of [`CHALLENGE_FINALIZER`], replaced on sight.
pub const LEGACY_CHALLENGE_FINALIZER: &str = "finalizer.acme.cert-manager.io";
/// Both.
pub const CHALLENGE_FINALIZERS: [&str; 2] = [CHALLENGE_FINALIZER, LEGACY_CHALLENGE_FINALIZER];
/// Who manages an object.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// [`MANAGED_BY_LABEL`] of account Secrets and the Lease.
pub const MANAGED_BY: &str = "cert-manager";

// Field managers, which are also the source component of events (§2.5, §4.6). A take-over from
// cert-manager is clean because they are the same, so none may change.

/// Writes the target Secret and the status of an issuance.
pub const MANAGER_CERTIFICATES_ISSUING: &str = "cert-manager-certificates-issuing";
/// Makes the key of an issuance.
pub const MANAGER_CERTIFICATES_KEY_MANAGER: &str = "cert-manager-certificates-key-manager";
/// Makes the request of an issuance.
pub const MANAGER_CERTIFICATES_REQUEST_MANAGER: &str = "cert-manager-certificates-request-manager";
/// Says whether a Certificate is ready.
pub const MANAGER_CERTIFICATES_READINESS: &str = "cert-manager-certificates-readiness";
/// Approves requests.
pub const MANAGER_CERTIFICATEREQUESTS_APPROVER: &str = "cert-manager-certificaterequests-approver";
/// Signs requests of ACME issuers.
pub const MANAGER_CERTIFICATEREQUESTS_ISSUER_ACME: &str =
    "cert-manager-certificaterequests-issuer-acme";
/// Signs requests of CA issuers.
pub const MANAGER_CERTIFICATEREQUESTS_ISSUER_CA: &str =
    "cert-manager-certificaterequests-issuer-ca";
/// Signs requests of self-signed issuers.
pub const MANAGER_CERTIFICATEREQUESTS_ISSUER_SELFSIGNED: &str =
    "cert-manager-certificaterequests-issuer-selfsigned";
/// Signs requests of Vault issuers.
pub const MANAGER_CERTIFICATEREQUESTS_ISSUER_VAULT: &str =
    "cert-manager-certificaterequests-issuer-vault";
/// Signs requests of Venafi issuers.
pub const MANAGER_CERTIFICATEREQUESTS_ISSUER_VENAFI: &str =
    "cert-manager-certificaterequests-issuer-venafi";
/// Works on orders.
pub const MANAGER_ORDERS: &str = "cert-manager-orders";
/// Works on challenges.
pub const MANAGER_CHALLENGES: &str = "cert-manager-challenges";
/// Sets issuers up.
pub const MANAGER_ISSUERS: &str = "cert-manager-issuers";
/// Sets cluster-wide issuers up.
pub const MANAGER_CLUSTERISSUERS: &str = "cert-manager-clusterissuers";
/// Says which issuers of a list can sign.
pub const MANAGER_ORDERED_ISSUERS: &str = "everleaf-ordered-issuers";
/// Makes Certificates of Ingresses.
pub const MANAGER_INGRESS_SHIM: &str = "cert-manager-ingress-shim";

/// Has certificates revoked (ours).
pub const MANAGER_CERTIFICATEREVOCATIONS: &str = "everleaf-certificaterevocations";

/// The value of all labels and annotations that only say yes.
pub const TRUE: &str = "true";

/// Whether one of [`CHALLENGE_FINALIZERS`] is among these.
pub fn holds(finalizers: &[String]) -> bool {
    finalizers
        .iter()
        .any(|finalizer| CHALLENGE_FINALIZERS.contains(&finalizer.as_str()))
}
