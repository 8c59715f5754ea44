//! What the operator asks at start is what its manifest gives it, and what it lacks is found.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use contour_e2e::apiserver::{self, ApiServer};
use contour_operator::capabilities::{Right, capabilities, lacking};
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use crate::rights::grant;

#[tokio::test]
async fn what_the_manifest_gives_is_asked_for_and_what_is_missing_is_found() -> Result<()> {
    if apiserver::is_left_out() {
        return Ok(());
    }
    // The operator's ClusterRole belongs to the whole cluster.
    let api = ApiServer::start().await?;
    let client = api.client().await?;
    let (user, given) = grant(&client).await?;
    let in_all: BTreeSet<_> =
        given.into_iter().filter(|(place, _)| place.is_none()).flat_map(|(_, r)| r).collect();
    let asked = |right: &Right| {
        let verb = right.name.map_or_else(|| right.verb.to_owned(), |name| format!("{} {name}", right.verb));
        (right.group.clone(), right.resource.clone(), verb)
    };
    let mut asked: BTreeSet<_> = capabilities().iter().flat_map(|one| &one.rights).map(asked).collect();
    // What the API server asks for itself.
    let unseen = ("operator.projectcontour.io", "contourdeployments/finalizers", "update");
    asked.insert((unseen.0.to_owned(), unseen.1.to_owned(), unseen.2.to_owned()));
    assert_eq!(asked, in_all);

    let operator = api.client_as(&user).await?;
    assert_eq!(lacking(&operator).await?, []);
    let roles: Api<ClusterRole> = Api::all(client);
    let role = roles.get("contour-operator").await?;
    let given: Vec<_> = role.rules.context("rules")?;
    let is_lost = |resource: &str| ["nodes", "ingressclasses"].contains(&resource);
    let kept: Vec<_> = given
        .into_iter()
        .map(|mut rule| {
            rule.resources.iter_mut().for_each(|all| all.retain(|resource| !is_lost(resource)));
            rule
        })
        .filter(|rule| rule.resources.as_ref().is_none_or(|all| !all.is_empty()))
        .collect();
    let patch = Patch::Merge(json!({ "rules": kept }));
    roles.patch("contour-operator", &PatchParams::default(), &patch).await?;
    let found = contour_e2e::wait::eventually(contour_e2e::wait::SOON, || async {
        let found = lacking(&operator).await?;
        anyhow::ensure!(found.len() == 2, "{found:?}");
        Ok(found)
    })
    .await?;
    let told: Vec<_> = found.iter().map(|one| (one.without.as_str(), one.rights.len())).collect();
    assert_eq!(told, [("every node counts as ready", 2), ("no IngressClass is made, healed or removed", 6)]);
    Ok(())
}
