//! The certificates in a cluster.
//!
//! Only `create` and `update` of Secrets are asked for: more the stock Role does not permit.

use anyhow::{Context, bail};
use contour_k8s::{ClientSource, HungRequests, connect};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};

/// Writes the Secrets. Without `overwrite` those that exist are left alone; if only some exist nothing is written, since
/// new ones would not match them.
pub(super) async fn write(
    source: &ClientSource,
    namespace: &str,
    secrets: &[Secret],
    overwrite: bool,
) -> anyhow::Result<()> {
    let api = Api::<Secret>::namespaced(connect(source, &HungRequests::default()).await?, namespace);
    if !overwrite {
        let mut there = Vec::new();
        for secret in secrets {
            if !create(&api, secret, true).await? {
                there.push(name(secret));
            }
        }
        if there.len() == secrets.len() {
            for name in there {
                println!("secret/{name} already exists");
            }
            return Ok(());
        }
        if !there.is_empty() {
            bail!(
                "of the Secrets in namespace {namespace:?}, {} exist and others do not: new ones would be of another CA, so \
                 nothing was written; pass --overwrite to replace all, or delete what is there",
                there.join(", ")
            );
        }
    }
    for secret in secrets {
        let name = name(secret);
        if create(&api, secret, false).await? {
            println!("secret/{name} created");
        } else if overwrite {
            let replaced = api.replace(name, &PostParams::default(), secret).await;
            replaced.with_context(|| format!("cannot update secret/{name} in namespace {namespace:?}"))?;
            println!("secret/{name} updated");
        } else {
            bail!("secret/{name} was created by someone else meanwhile: pass --overwrite to replace all");
        }
    }
    Ok(())
}

/// Creates a Secret, or only asks whether it could be; false if it exists.
async fn create(api: &Api<Secret>, secret: &Secret, dry_run: bool) -> anyhow::Result<bool> {
    match api.create(&PostParams { dry_run, ..PostParams::default() }, secret).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
        Err(error) => {
            let (name, namespace) = (name(secret), secret.metadata.namespace.as_deref().unwrap_or_default());
            Err(error).with_context(|| format!("cannot create secret/{name} in namespace {namespace:?}"))
        }
    }
}

fn name(secret: &Secret) -> &str {
    secret.metadata.name.as_deref().unwrap_or_default()
}
