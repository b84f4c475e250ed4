//! Tokens of Microsoft Entra: for a service principal by its password, for a workload by the token of its service
//! account ("Microsoft identity platform and the OAuth 2.0 client credentials flow"), or for the machine by its metadata
//! service ("How to use managed identities for Azure resources on an Azure VM to acquire an access token").

use std::sync::Arc;

use http::{HeaderName, Method};
use zeroize::Zeroizing;

use super::bearer::{self, granted};
use super::tokens::{Identity, Lent};
use super::{Api, Hosted, optional};
use crate::net::{Request, escape, query};
use crate::solvers::dns01::{Ambient, Error};

const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const METADATA: HeaderName = HeaderName::from_static("metadata");
const METADATA_BASE: &str = "http://169.254.169.254";

const ENTRA: Api = Api {
    name: "Microsoft Entra",
    remedy: "correct clientID, tenantID and the Secret of dns01.azureDNS.clientSecretSecretRef",
};
const WORKLOAD: Api = Api {
    name: "Microsoft Entra",
    remedy: "give the identity a federated credential for the operator's service account",
};
const MACHINE: Api = Api {
    name: "Azure's metadata service",
    remedy: "assign the identity of dns01.azureDNS.managedIdentity to the node",
};

/// One of Microsoft's clouds.
pub(super) struct Environment {
    /// Of `environment`.
    name: &'static str,
    login: &'static str,
    pub(super) management: &'static str,
}

/// "Azure clouds: endpoints". The German one was closed in 2021; its name is still admitted.
static ENVIRONMENTS: [Environment; 4] = [
    Environment {
        name: "AzurePublicCloud",
        login: "https://login.microsoftonline.com",
        management: "https://management.azure.com",
    },
    Environment {
        name: "AzureUSGovernmentCloud",
        login: "https://login.microsoftonline.us",
        management: "https://management.usgovcloudapi.net",
    },
    Environment {
        name: "AzureChinaCloud",
        login: "https://login.chinacloudapi.cn",
        management: "https://management.chinacloudapi.cn",
    },
    Environment {
        name: "AzureGermanCloud",
        login: "https://login.microsoftonline.de",
        management: "https://management.microsoftazure.de",
    },
];

impl Environment {
    /// By the name in the spec; the public one when absent.
    pub(super) fn named(name: Option<&str>) -> Result<&'static Self, Error> {
        let wanted = optional(name).unwrap_or("AzurePublicCloud");
        let found = ENVIRONMENTS.iter().find(|known| known.name == wanted);
        found.ok_or_else(|| {
            let names: Vec<_> = ENVIRONMENTS.iter().map(|known| known.name).collect();
            let names = names.join(", ");
            Error::permanent(format!(
                "dns01.azureDNS.environment: must be one of {names}"
            ))
        })
    }
}

/// Who writes records.
pub(super) struct Login {
    pub(super) environment: &'static Environment,
    pub(super) way: Way,
}

pub(super) enum Way {
    Secret {
        tenant: String,
        client: String,
        secret: Zeroizing<String>,
    },
    /// What the operator has, and the identity among it, if one is named.
    Ambient {
        ambient: Arc<Ambient>,
        client: Option<String>,
        resource: Option<String>,
        tenant: Option<String>,
    },
}

impl bearer::Login for Login {
    fn identity(&self) -> Identity {
        let cloud = self.environment.name;
        match &self.way {
            Way::Secret {
                tenant,
                client,
                secret,
            } => Identity::of(&["azure", cloud, "secret", tenant, client, secret]),
            Way::Ambient {
                client,
                resource,
                tenant,
                ..
            } => {
                let parts =
                    [client, resource, tenant].map(|part| part.as_deref().unwrap_or_default());
                let [client, resource, tenant] = parts;
                Identity::of(&["azure", cloud, "ambient", client, resource, tenant])
            }
        }
    }

    async fn log_in(&self, hosted: &Hosted) -> Result<Lent<Zeroizing<String>>, Error> {
        let (ambient, client, resource, tenant) = match &self.way {
            Way::Secret {
                tenant,
                client,
                secret,
            } => {
                let fields = [("client_secret", secret.as_str())];
                let login = self.environment.login;
                return self
                    .ask(hosted, &ENTRA, login, tenant, client, &fields)
                    .await;
            }
            Way::Ambient {
                ambient,
                client,
                resource,
                tenant,
            } => (
                ambient,
                client.as_deref(),
                resource.as_deref(),
                tenant.as_deref(),
            ),
        };
        let variable = |name: &str| optional(ambient.variables.get(name).map(String::as_str));
        let Some(file) = variable("AZURE_FEDERATED_TOKEN_FILE") else {
            let base = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or(METADATA_BASE);
            return self.ask_machine(hosted, base, client, resource).await;
        };
        let needed = |name: &str, found: Option<&str>| {
            let found = found.or_else(|| variable(name)).map(str::to_owned);
            found.ok_or_else(|| {
                Error::permanent(format!(
                    "dns01.azureDNS: workload identity needs {name}: set dns01.azureDNS.managedIdentity, or annotate \
                     the operator's service account"
                ))
            })
        };
        let client = needed("AZURE_CLIENT_ID", client)?;
        let tenant = needed("AZURE_TENANT_ID", tenant)?;
        let token = super::read_token(file, "the file of AZURE_FEDERATED_TOKEN_FILE").await?;
        let fields = [
            ("client_assertion_type", ASSERTION),
            ("client_assertion", token.as_str()),
        ];
        let login = variable("AZURE_AUTHORITY_HOST").unwrap_or(self.environment.login);
        self.ask(hosted, &WORKLOAD, login, &tenant, &client, &fields)
            .await
    }
}

impl Login {
    /// With a client's credentials.
    async fn ask(
        &self,
        hosted: &Hosted,
        api: &Api,
        login: &str,
        tenant: &str,
        client: &str,
        credentials: &[(&str, &str)],
    ) -> Result<Lent<Zeroizing<String>>, Error> {
        let scope = format!("{}/.default", self.environment.management);
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("scope", &scope),
        ];
        fields.extend(credentials);
        let login = login.trim_end_matches('/');
        let url = format!("{login}/{}/oauth2/v2.0/token", escape(tenant));
        let request = Request::new(Method::POST, url).form(&fields);
        let reply = hosted.send(api, "log in", request).await?;
        granted(api, "log in", &reply, hosted.now())
    }

    async fn ask_machine(
        &self,
        hosted: &Hosted,
        base: &str,
        client: Option<&str>,
        resource: Option<&str>,
    ) -> Result<Lent<Zeroizing<String>>, Error> {
        let call = "get a token";
        let mut fields = vec![
            ("api-version", "2018-02-01"),
            ("resource", self.environment.management),
        ];
        fields.extend(client.map(|id| ("client_id", id)));
        fields.extend(resource.map(|id| ("msi_res_id", id)));
        let base = base.trim_end_matches('/');
        let url = format!("{base}/metadata/identity/oauth2/token?{}", query(&fields));
        let request = Request::get(url)
            .header(METADATA, "true")
            .map_err(|error| MACHINE.unreached(call, &error))?;
        let reply = hosted.send_local(&MACHINE, call, request).await?;
        let granted = granted(&MACHINE, call, &reply, hosted.now());
        // Not yet, or not just now: it is being updated.
        let again = [404, 410].contains(&reply.status);
        granted.map_err(|error| {
            if again {
                Error::transient(error.text)
            } else {
                error
            }
        })
    }
}
