//! Kubeconfigs, by the rules of kubectl. kube reads them, too, but its YAML reader is compiled anew for each of its types, and
//! together that is a fortieth of the binary; and what it says of a file with a fault quotes the file, tokens and all.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use kube::config::Kubeconfig;
use serde_json::{Map, Value};

/// Everything else in a kubeconfig that is not text by its type, however it is written.
const NO_TEXT: [&str; 3] = [
    "disable-compression",
    "insecure-skip-tls-verify",
    "provideClusterInfo",
];

/// Paths in a cluster or a user, which begin where the file is.
const PATHS: [&str; 4] = [
    "certificate-authority",
    "client-certificate",
    "client-key",
    "tokenFile",
];

/// Where a kubeconfig is looked for: the files that `KUBECONFIG` lists, else `~/.kube/config`.
pub fn places() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::env::split_paths(&listed).collect();
    paths.retain(|path| !path.as_os_str().is_empty());
    if paths.is_empty() {
        paths.extend(std::env::home_dir().map(|home| home.join(".kube/config")));
    }
    paths
}

/// The kubeconfig of those places. `None` if there are none.
///
/// # Errors
///
/// When one that is there cannot be read.
pub fn usual() -> anyhow::Result<Option<Kubeconfig>> {
    let mut merged: Option<Kubeconfig> = None;
    for path in places() {
        match read(&path) {
            Err(e) if is_missing(&e) => {}
            found => merged = Some(merged.unwrap_or_default().merge(found?)?),
        }
    }
    Ok(merged.filter(|config| !config.contexts.is_empty()))
}

fn is_missing(e: &anyhow::Error) -> bool {
    let e = e.downcast_ref::<std::io::Error>();
    e.is_some_and(|e| e.kind() == ErrorKind::NotFound)
}

/// The kubeconfig in this file, which may hold several documents.
///
/// # Errors
///
/// When it cannot be read, or is something else: what is said of it quotes nothing.
pub fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let home = path.parent().unwrap_or(Path::new(""));
    parse(&text, home).with_context(|| path.display().to_string())
}

fn parse(text: &str, home: &Path) -> anyhow::Result<Kubeconfig> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| {
        let line = e.location().map(|at| format!(" in line {}", at.line()));
        anyhow!("no YAML{}", line.unwrap_or_default())
    })?;
    let mut merged = Kubeconfig::default();
    for mut document in documents.into_iter().filter(|document| !document.is_null()) {
        make_text(&mut document);
        resolve(&mut document, home);
        let read = serde_json::from_value(document);
        let read = read.map_err(|_| {
            anyhow!("not what a kubeconfig looks like; `kubectl config view` says which field")
        })?;
        merged = merged.merge(read)?;
    }
    Ok(merged)
}

/// A name or a token of digits is text all the same.
fn make_text(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::Bool(is) => *value = Value::String(is.to_string()),
        Value::Array(list) => list.iter_mut().for_each(make_text),
        Value::Object(fields) => {
            let text = fields
                .iter_mut()
                .filter(|(name, _)| !NO_TEXT.contains(&name.as_str()) && *name != "extensions");
            text.for_each(|(_, value)| make_text(value));
        }
        Value::Null | Value::String(_) => {}
    }
}

fn resolve(document: &mut Value, home: &Path) {
    for (list, entry) in [("clusters", "cluster"), ("users", "user")] {
        let named = document.get_mut(list).and_then(Value::as_array_mut);
        let entries = named.into_iter().flatten();
        for fields in entries.filter_map(|named| named.get_mut(entry)?.as_object_mut()) {
            for name in PATHS {
                set_out_from(fields, name, home);
            }
            let exec = fields.get_mut("exec").and_then(Value::as_object_mut);
            // One without a slash is looked for in PATH.
            let exec = exec.filter(|exec| {
                let command = exec.get("command").and_then(Value::as_str);
                command.is_some_and(|command| command.contains('/'))
            });
            if let Some(exec) = exec {
                set_out_from(exec, "command", home);
            }
        }
    }
}

fn set_out_from(fields: &mut Map<String, Value>, name: &str, home: &Path) {
    let Some(value) = fields.get_mut(name) else {
        return;
    };
    if let Some(path) = value.as_str().filter(|path| !path.is_empty()) {
        *value = home.join(path).to_string_lossy().into_owned().into();
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "tests fail by panicking"
    )]

    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: 7
contexts:
- {name: 7, context: {cluster: home, user: me, extensions: [{name: a, extension: {n: 1}}]}}
clusters:
- name: home
  cluster: {server: 'https://home:6443', certificate-authority: pki/ca.crt, insecure-skip-tls-verify: true}
users:
- name: me
  user: {client-key: /abs/key, token: 12345, exec: {command: ./login, env: [{name: N, value: 1}]}}
- name: you
  user: {exec: {command: aws}}
";

    #[test]
    fn paths_begin_where_the_file_is() {
        let read = parse(FILE, Path::new("/etc/kube")).unwrap();
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        let ca = cluster.certificate_authority.as_deref();
        assert_eq!(ca, Some("/etc/kube/pki/ca.crt"));
        let users: Vec<_> = read
            .auth_infos
            .iter()
            .map(|u| u.auth_info.as_ref().unwrap())
            .collect();
        assert_eq!(users[0].client_key.as_deref(), Some("/abs/key"));
        let command = |i: usize| users[i].exec.as_ref().unwrap().command.as_deref();
        assert_eq!(command(0), Some("/etc/kube/./login"));
        assert_eq!(command(1), Some("aws"));
    }

    #[test]
    fn digits_are_text_where_text_belongs() {
        let read = parse(FILE, Path::new("/")).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("7"));
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.insecure_skip_tls_verify, Some(true));
        let context = read.contexts[0].context.as_ref().unwrap();
        let kept = &context.extensions.as_ref().unwrap()[0].extension;
        assert_eq!(kept["n"], 1);
        let me = read.auth_infos[0].auth_info.as_ref().unwrap();
        assert!(me.token.is_some());
        assert_eq!(
            me.exec.as_ref().unwrap().env.as_ref().unwrap()[0]["value"],
            "1"
        );
    }

    #[test]
    fn the_first_of_several_documents_wins() {
        let second = FILE.replace('7', "8").replace("home:6443", "other");
        let read = parse(&format!("{FILE}---\n{second}---\n"), Path::new("/")).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("7"));
        let names: Vec<_> = read.contexts.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["7", "8"]);
        let server = read.clusters[0].cluster.as_ref().unwrap().server.as_deref();
        assert_eq!(server, Some("https://home:6443"));
    }

    #[test]
    fn what_is_said_of_a_fault_quotes_nothing() {
        for text in [
            "users: [{name: me, user: {token: s3cr3t}",
            "users: s3cr3t",
            "users:\n- name: me\n  user: s3cr3t\n",
        ] {
            let said = format!("{:#}", parse(text, Path::new("/")).unwrap_err());
            assert!(!said.contains("s3cr3t"), "{said}");
        }
    }
}
