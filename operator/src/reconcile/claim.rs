//! Of two operators, one at most works on a `ContourDeployment`: whoever works on it writes its name there, and the other stands back.
//!
//! An operator is called like its Lease. It has what it claimed for as long as it, or another process of the same operator, renews that.

use std::sync::Arc;

use contour_crds::ContourDeployment;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use kube::{Resource as _, ResourceExt as _};
use serde_json::json;

use super::{Context, Error};
use crate::events::Notice;
use crate::names::OPERATED_BY;

/// How long after its Lease has run out, or was given back, an operator still has what it claimed: it may be about to be replaced by a new
/// version of itself.
pub const HANDOVER: SignedDuration = SignedDuration::from_secs(60);

/// How long it is remembered that another operator was alive.
const AGAIN: SignedDuration = SignedDuration::from_secs(15);

/// Another operator that has a `ContourDeployment`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Other {
    name: String,
    /// When it was last found alive.
    seen: Timestamp,
}

/// The `ContourDeployment` as this operator has it from now on; `None`: another one has it.
pub(super) async fn claim(
    deployment: Arc<ContourDeployment>,
    context: &Context,
) -> Result<Option<Arc<ContourDeployment>>, Error> {
    let noted = deployment.annotations().get(OPERATED_BY);
    if noted == context.operator.as_ref() {
        stand_forth(&deployment, context);
        return Ok(Some(deployment));
    }
    if let Some(other) = noted {
        let now = (context.clock)();
        let known = context.remember(&deployment, |memory| memory.other.clone());
        let lately =
            known.is_some_and(|known| known.name == *other && now.duration_since(known.seen) < AGAIN);
        if lately || is_alive(other, now, context).await? {
            if !lately {
                stand_back(&deployment, other, now, context).await;
            }
            return Ok(None);
        }
    }
    stand_forth(&deployment, context);
    let Some(own) = &context.operator else { return Ok(Some(deployment)) };
    // Of two that try at the same time, one is refused.
    let body = json!({"metadata": {
        "annotations": {OPERATED_BY: own}, "resourceVersion": deployment.resource_version(), "uid": deployment.uid(),
    }});
    let api: Api<ContourDeployment> =
        Api::namespaced(context.client.clone(), &deployment.namespace().unwrap_or_default());
    match api.patch(&deployment.name_any(), &PatchParams::default(), &Patch::Merge(body)).await {
        Ok(claimed) => Ok(Some(Arc::new(claimed))),
        // It is gone, or changed meanwhile: that has an event.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(Error::Own { what: "operator", source: Box::new(error) }),
    }
}

/// Whether an operator renews its Lease, or did a moment ago. One whose Lease is gone, or that is called like none, is not there.
async fn is_alive(operator: &str, now: Timestamp, context: &Context) -> Result<bool, Error> {
    let Some((namespace, name)) = operator.split_once('/') else { return Ok(false) };
    let api: Api<Lease> = Api::namespaced(context.client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(lease) => Ok(lease.is_some_and(|lease| ends(&lease) > now)),
        // It is not a name.
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404) => Ok(false),
        Err(error) => Err(Error::Read { what: format!("Lease {operator}"), source: Box::new(error) }),
    }
}

/// Until when a Lease says that its operator is there.
fn ends(lease: &Lease) -> Timestamp {
    let spec = lease.spec.as_ref();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map_or(Timestamp::MIN, |time| time.0);
    let lasts = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    let lasts = SignedDuration::from_secs(lasts.into()) + HANDOVER;
    renewed.saturating_add(lasts).unwrap_or(Timestamp::MAX)
}

/// Says, once, that another operator has it. Its status is the other's to write.
async fn stand_back(deployment: &ContourDeployment, other: &str, now: Timestamp, context: &Context) {
    let seen = Other { name: other.to_owned(), seen: now };
    let before = context.remember(deployment, |memory| memory.other.replace(seen));
    if before.is_some_and(|before| before.name == other) {
        return;
    }
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    context.metrics.stands_back(&namespace, &name, true);
    let own = context.operator.as_deref().unwrap_or("without a Lease");
    let note = format!(
        "the operator of Lease {other} has this object, and this one ({own}) changes nothing; to hand it over, end that one, or set the \
         annotation {OPERATED_BY} to the name of the other's Lease"
    );
    tracing::warn!(%namespace, name, reason = "OtherOperator", "{note}");
    context.teller.tell(&deployment.object_ref(&()), vec![Notice::warning("OtherOperator", note)]).await;
}

/// No other operator has it any more.
fn stand_forth(deployment: &ContourDeployment, context: &Context) {
    if context.remember(deployment, |memory| memory.other.take()).is_some() {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        context.metrics.stands_back(&namespace, &name, false);
        tracing::info!(%namespace, name, "no other operator has it any more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_for_a_while_after_it_ran_out() {
        let lease = |spec| -> Lease { serde_json::from_value(json!({ "spec": spec })).unwrap() };
        let renewed = "2026-01-01T00:00:00.000000Z";
        let held = json!({"holderIdentity": "a", "renewTime": renewed, "leaseDurationSeconds": 15});
        assert_eq!(ends(&lease(held)).to_string(), "2026-01-01T00:01:15Z");
        let given_back = json!({"holderIdentity": "", "renewTime": renewed, "leaseDurationSeconds": 1});
        assert_eq!(ends(&lease(given_back)).to_string(), "2026-01-01T00:01:01Z");
        assert!(ends(&lease(json!({}))) < renewed.parse().unwrap());
    }
}
