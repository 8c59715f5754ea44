//! Where the look meets the rotation of certificates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use contour_certs::{Authority, Certificate, Change, Leaf, Party, Peer};
use contour_crds::ContourDeployment;
use contour_crds::contour_deployment::CertificateSecrets;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;

use super::rollout::{Because, is_ready};
use super::workloads::typed;
use super::{Context, Error, REGULAR};
use crate::adoption::Adopted;
use crate::build::{self, Component, Inputs};
use crate::certificates::ask::Question;
use crate::certificates::{Own, Phase, Plan, Secrets, examine, plan, policy, told, wants_peers};
use crate::child::{Child, ChildKind, ChildRef};
use crate::live::Live;
use crate::names::Names;
use crate::observe::Trigger;
use crate::problem::Problem;
use crate::settings::{CONTOUR_ADMIN_PORT, ports};
use crate::status::Certificates;

/// When to ask the pods again while a rotation waits for them.
const ROTATING: Duration = Duration::from_secs(2);

/// What a look at the certificates came to.
pub(super) struct Looked {
    /// The Secrets as they should be.
    pub(super) secrets: Vec<Child>,
    /// Secrets that are not written and not to be removed either.
    pub(super) kept: Vec<ChildRef>,
    /// What to tell.
    pub(super) told: Certificates,
    /// When to look again.
    pub(super) again: Duration,
}

/// Looks at the certificates.
pub(super) async fn look(
    context: &Context,
    deployment: &ContourDeployment,
    names: &Names,
    live: &Live,
) -> Result<Looked, Error> {
    let now = (context.clock)();
    if let Some(own) = &deployment.spec.certificates.secret_refs {
        let (_, told) = users_own(context, &names.namespace, own).await?;
        let kept = still_mounted(names, live);
        return Ok(Looked { secrets: Vec::new(), kept, told, again: REGULAR });
    }
    let live_secrets = secrets(names, live);
    let held = live_secrets.held();
    let whose = ObjectRef::from_obj(deployment);
    let peers = if wants_peers(&held) {
        peers(context, &whose, deployment, live, &live_secrets)
    } else {
        context.asker.forget(&whose);
        Vec::new()
    };
    let policy = policy(&deployment.spec.certificates, &names.namespace);
    let plan = plan(held, now, &live_secrets.speak_for(&peers, now), &policy)
        .map_err(|error| Error::Certificates(error.to_string()))?;
    for change in &plan.changes {
        tracing::info!(
            namespace = names.namespace,
            name = names.instance,
            "certificates: {}",
            sentence(change)
        );
    }
    let inputs = Inputs {
        deployment,
        names,
        defaults: &context.defaults,
        kept: None,
        addresses: &[],
        adopted: &Adopted::NOTHING,
    };
    let mut wanted = build::secrets(&inputs, &plan.held);
    live_secrets.note_changes(&mut wanted, now);
    Ok(Looked {
        secrets: wanted,
        kept: Vec::new(),
        told: tell(&plan, &peers),
        again: match plan.phase {
            Phase::Steady => until(plan.next, now),
            _ => ROTATING.min(until(plan.next, now)),
        },
    })
}

/// The Secrets that are there.
fn secrets(names: &Names, live: &Live) -> Secrets {
    let find = |name: &String| typed(live.children.get(&names.child(ChildKind::Secret, name))?);
    Secrets {
        authority: find(&names.ca_secret),
        contour: find(&names.contour_secret),
        envoy: find(&names.envoy_secret),
    }
}

/// Whether this installation has all its Secrets.
pub(super) fn are_there(names: &Names, live: &Live) -> bool {
    let all = [&names.ca_secret, &names.contour_secret, &names.envoy_secret];
    all.into_iter().all(|name| live.children.contains_key(&names.child(ChildKind::Secret, name)))
}

/// What each pod works with, as far as it is known now. Pods that are not ready start with what the Secrets hold by then, or end.
fn peers(
    context: &Context,
    whose: &Trigger,
    deployment: &ContourDeployment,
    live: &Live,
    secrets: &Secrets,
) -> Vec<Peer> {
    let sides = [
        (Party::Contour, CONTOUR_ADMIN_PORT, &live.contour),
        (Party::Envoy, ports(deployment).shutdown, &live.envoy),
    ];
    let mut questions = Vec::new();
    for (party, port, pods) in sides {
        let current = secrets.current(party);
        let question =
            |pod: &Arc<_>| Question { party, pod: Arc::clone(pod), port, current: current.clone() };
        questions.extend(pods.iter().filter(|pod| is_ready(pod)).map(question));
    }
    let mut peers = context.asker.peers(whose, &questions);
    // What may turn out to be ours is not asked, as it may be anyone's: it is given time, as a pod that does not answer is.
    let unproven = live.unproven.iter().filter(|(_, pod)| is_ready(pod));
    peers.extend(unproven.map(|(component, _)| Peer { party: party(*component), credentials: None }));
    peers
}

fn party(component: Component) -> Party {
    match component {
        Component::Contour => Party::Contour,
        Component::Envoy => Party::Envoy,
    }
}

fn until(next: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now))
        .unwrap_or_default()
        .max(Duration::from_millis(100))
        .min(REGULAR)
}

fn sentence(change: &Change) -> String {
    match change {
        Change::AuthorityCreated => "a new authority was made".to_owned(),
        Change::AuthorityRenewed => "a new authority is trusted beside the old one from now on".to_owned(),
        Change::LeafIssued(party) => format!("a certificate was issued for {}", party.name()),
        Change::AuthorityDropped => {
            "an authority that nobody needs any more is not trusted any more".to_owned()
        }
    }
}

fn tell(plan: &Plan, peers: &[Peer]) -> Certificates {
    let mut certificates: BTreeMap<&'static str, &Certificate> = BTreeMap::new();
    let authority = plan.held.authority.as_ref().map(Authority::certificate);
    certificates.extend(authority.map(|authority| ("authority", authority)));
    for party in Party::ALL {
        certificates.extend(plan.held.leaf(party).map(Leaf::certificate).map(|leaf| (party.name(), leaf)));
    }
    Certificates {
        status: told(plan.phase, Some(plan.next), &certificates),
        not_ready: None,
        rotating: rotating(plan.phase, authority, &certificates, peers),
    }
}

/// What a rotation waits for.
fn rotating(
    phase: Phase,
    authority: Option<&Certificate>,
    certificates: &BTreeMap<&'static str, &Certificate>,
    peers: &[Peer],
) -> Option<Because> {
    let known = |ready: &dyn Fn(&Peer) -> Option<bool>| {
        let ready = peers.iter().filter(|peer| ready(peer) == Some(true)).count();
        format!("{ready} of {} pods say so", peers.len())
    };
    let message = match phase {
        Phase::Steady | Phase::UserProvided => return None,
        Phase::Distributing => {
            let sha256 = authority?.sha256();
            let trusts = |peer: &Peer| Some(peer.credentials.as_ref()?.authorities.contains(&sha256));
            format!("waits until every pod trusts the new authority: {}", known(&trusts))
        }
        Phase::Retiring => {
            let shows = |peer: &Peer| {
                let leaf = certificates.get(peer.party.name())?;
                Some(peer.credentials.as_ref()?.certificate.sha256 == leaf.sha256())
            };
            format!("waits until every pod shows its new certificate: {}", known(&shows))
        }
    };
    Some(Because::new(phase.to_string(), message))
}

/// Reads and judges the user's own Secrets: what is wrong with them, and what to tell.
pub(super) async fn users_own(
    context: &Context,
    namespace: &str,
    own: &CertificateSecrets,
) -> Result<(Vec<Problem>, Certificates), Error> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let (contour, envoy) = tokio::try_join!(read(&api, &own.contour), read(&api, &own.envoy))?;
    let Own { certificates, problems } = examine(
        [(Party::Contour, &own.contour, contour.as_ref()), (Party::Envoy, &own.envoy, envoy.as_ref())],
        (context.clock)(),
    );
    let certificates = certificates.iter().map(|(name, certificate)| (*name, certificate)).collect();
    let not_ready = problems
        .first()
        .map(|problem| Because::new(problem.reason, format!("{}: {}", problem.field, problem.message)));
    let told =
        Certificates { status: told(Phase::UserProvided, None, &certificates), not_ready, rotating: None };
    Ok((problems, told))
}

async fn read(api: &Api<Secret>, name: &str) -> Result<Option<Secret>, Error> {
    let secret = api.get_opt(name).await;
    secret.map_err(|error| Error::Read { what: format!("Secret {name}"), source: Box::new(error) })
}

/// The operator's Secrets that pods from before the user's own still work with.
pub(crate) fn still_mounted(names: &Names, live: &Live) -> Vec<ChildRef> {
    let volumes = live.pods().filter_map(|pod| pod.spec.as_ref()?.volumes.as_ref()).flatten();
    let mounted: Vec<&str> =
        volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.as_deref()).collect();
    let ours = [&names.ca_secret, &names.contour_secret, &names.envoy_secret];
    let needed = ours.into_iter().filter(|name| mounted.contains(&name.as_str()));
    needed.map(|name| names.child(ChildKind::Secret, name)).collect()
}
