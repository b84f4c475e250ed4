//! Times that the API server takes, and that are none here.

use anyhow::Result;
use serde_json::json;

use crate::support::{DEADLINE, certificate};
use crate::{FLAGS, aside, patch_status, self_signed};

#[test]
fn a_certificate_with_an_odd_time_is_in_nobodys_way() -> Result<()> {
    let Some(cluster) = aside() else {
        return Ok(());
    };
    let namespace = cluster.alone("odd-times")?;
    cluster.stop_operator()?;
    namespace.apply(&self_signed("self"))?;
    let odd = [
        ("endless", "9999-12-31T23:59:59Z"),
        ("nowhere", "2026-01-01T00:00:00+99:99"),
    ];
    let site = |name: &str| certificate(name, "self", &format!("{name}.example.com"), "");
    for (name, time) in odd {
        namespace.apply(&site(name))?;
        let status = json!({ "notAfter": time, "renewalTime": time });
        patch_status(&namespace, &format!("certificate/{name}"), &status)?;
        assert_eq!(
            namespace.get("certificate", name)?["status"]["notAfter"],
            time
        );
    }
    namespace.apply(&site("beside"))?;
    cluster.operator(&FLAGS)?;
    namespace.ready("beside", DEADLINE)?;
    for (name, _) in odd {
        namespace.ready(name, DEADLINE)?;
    }

    // While a watch brings it.
    for (name, time) in odd {
        let status = json!({ "notAfter": time });
        patch_status(&namespace, &format!("certificate/{name}"), &status)?;
        namespace.until(DEADLINE, "certificate", name, "mended", |object| {
            object["status"]["notAfter"] != time
        })?;
    }
    namespace.apply(&site("after"))?;
    namespace.ready("after", DEADLINE)?;
    Ok(())
}
