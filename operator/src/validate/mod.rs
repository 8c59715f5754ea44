//! What is wrong with a `ContourDeployment` that its schema cannot tell. Pure: what other objects say is looked at elsewhere.

mod arguments;
mod components;
mod configuration;
mod patches;
mod pods;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use contour_crds::ContourDeployment;
use contour_graph::parse_duration;

use crate::defaults::Defaults;
use crate::families;
use crate::image::ImageReference;
use crate::names::{Names, is_label};
use crate::problem::Problem;
use crate::settings;

pub use components::COMPONENTS;
pub(crate) use patches::{
    BOOTSTRAP as BOOTSTRAP_PATCH, CONTOUR as CONTOUR_PATCH, ENVOY as ENVOY_PATCH, SERVICE as SERVICE_PATCH,
};

/// Everything that is wrong with a `ContourDeployment`, looked at alone. Empty: it can be built.
pub fn validate(deployment: &ContourDeployment, defaults: &Defaults) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(class(deployment));
    problems.extend(durations(deployment));
    problems.extend(images(deployment, defaults));
    problems.extend(network(deployment));
    problems.extend(publishing(deployment));
    problems.extend(pods::pods(deployment));
    problems.extend(components::components(deployment));
    match Names::of(deployment) {
        Ok(names) => {
            problems.extend(secrets(deployment, &names));
            problems.extend(configuration::decided_elsewhere(deployment));
            problems.extend(arguments::arguments(deployment, &names, defaults));
            // The whole configuration is made of all fields: what is wrong with those was told already, in their own words.
            if problems.is_empty() {
                problems.extend(configuration::not_served(deployment, &names, defaults));
            }
            // What is patched is made of all fields, too.
            if problems.is_empty() {
                problems.extend(patches::patches(deployment, &names, defaults));
            }
        }
        Err(problem) => problems.push(problem),
    }
    problems.sort();
    problems
}

fn class(deployment: &ContourDeployment) -> Option<Problem> {
    let class = deployment.spec.ingress_class_name.as_deref()?;
    (class.len() > 63 || !is_label(class)).then(|| {
        let message =
            format!("\"{class}\" is not a class: use 1 to 63 lower-case letters, digits and dashes");
        Problem::invalid("spec.ingressClassName", message)
    })
}

fn durations(deployment: &ContourDeployment) -> Vec<Problem> {
    let (certificates, shutdown) = (&deployment.spec.certificates, &deployment.spec.envoy.shutdown);
    let given = [
        ("certificates.lifetime", &certificates.lifetime),
        ("certificates.caLifetime", &certificates.ca_lifetime),
        ("certificates.renewBefore", &certificates.renew_before),
        ("envoy.shutdown.drainDelay", &shutdown.drain_delay),
        ("envoy.shutdown.checkDelay", &shutdown.check_delay),
        ("envoy.shutdown.checkInterval", &shutdown.check_interval),
        ("envoy.shutdown.gracePeriod", &shutdown.grace_period),
    ];
    let wrong = given.into_iter().filter_map(|(field, text)| {
        let error = parse_duration(text.as_deref()?).err()?;
        Some(Problem::invalid(format!("spec.{field}"), error))
    });
    wrong.collect()
}

fn images(deployment: &ContourDeployment, defaults: &Defaults) -> Vec<Problem> {
    let (contour, envoy) = (&deployment.spec.contour, &deployment.spec.envoy);
    let given = [
        ("spec.contour.image", "--contour-image", &contour.image, &defaults.contour_image),
        ("spec.envoy.image", "--envoy-image", &envoy.image, &defaults.envoy_image),
        ("spec.envoy.agentImage", "--agent-image", &envoy.agent_image, &defaults.agent_image),
    ];
    let wrong = given.into_iter().filter_map(|(field, flag, asked, default)| {
        let error = ImageReference::parse(asked.as_deref().unwrap_or(default)).err()?;
        Some(match asked {
            Some(_) => Problem::invalid(field, error.to_string()),
            None => Problem::invalid(
                field,
                format!("the default, {flag} of the operator, cannot be used: {error}"),
            ),
        })
    });
    wrong.collect()
}

fn network(deployment: &ContourDeployment) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(address) = deployment.spec.envoy.listen_address.as_deref() {
        let asked = &deployment.spec.network.ip_families;
        let message = match address.parse::<IpAddr>() {
            Err(_) => Some(format!("\"{address}\" is not an IP address, such as 0.0.0.0 or ::")),
            // It takes both.
            Ok(IpAddr::V6(any)) if any.is_unspecified() => None,
            Ok(_) if asked.is_empty() || families::include(asked, address) => None,
            Ok(_) => Some(format!(
                "\"{address}\" is of no family of spec.network.ipFamilies; name an address of one, or the family there"
            )),
        };
        problems.extend(message.map(|message| Problem::invalid("spec.envoy.listenAddress", message)));
    }
    let ports = settings::ports(deployment).named();
    for (index, (name, port)) in ports.iter().enumerate() {
        if let Some((first, _)) = ports[..index].iter().find(|(_, earlier)| earlier == port) {
            let message = format!(
                "{port} is the port of {first} too; give one of the two another, as all have to differ"
            );
            problems.push(Problem::invalid(format!("spec.envoy.ports.{name}"), message));
        }
    }
    problems
}

fn publishing(deployment: &ContourDeployment) -> Vec<Problem> {
    let mut problems = source_ranges(deployment);
    let mut earlier: BTreeMap<Address<'_>, usize> = BTreeMap::new();
    for (index, text) in deployment.spec.publishing.addresses.iter().enumerate() {
        let field = |index: usize| format!("spec.publishing.addresses[{index}]");
        let message = match Address::parse(text) {
            None => format!(
                "\"{text}\" is neither an IP address that can be reached, such as 192.0.2.1 or 2001:db8::1, nor a host name of lower-case letters, \
                 digits, dashes and dots, such as edge.example.com"
            ),
            Some(address) => match earlier.entry(address) {
                Entry::Vacant(vacant) => {
                    vacant.insert(index);
                    continue;
                }
                Entry::Occupied(first) => {
                    format!("\"{text}\" is {} too; name each address once", field(*first.get()))
                }
            },
        };
        problems.push(Problem::invalid(field(index), message));
    }
    problems
}

/// What statuses can name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Address<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

impl<'a> Address<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return (!ip.is_unspecified()).then_some(Self::Ip(ip));
        }
        // What has no letter was meant to be an IP address.
        let named = text.len() <= 253 && text.bytes().any(|c| c.is_ascii_lowercase());
        let is_name = named && text.split('.').all(|label| label.len() <= 63 && is_label(label));
        is_name.then_some(Self::Name(text))
    }
}

fn source_ranges(deployment: &ContourDeployment) -> Vec<Problem> {
    let ranges = deployment.spec.publishing.load_balancer_source_ranges.iter().enumerate();
    let wrong = ranges.filter(|(_, range)| !is_network(range));
    wrong
        .map(|(index, range)| {
            let message = format!("\"{range}\" is not a network such as 192.0.2.0/24 or 2001:db8::/32");
            Problem::invalid(format!("spec.publishing.loadBalancerSourceRanges[{index}]"), message)
        })
        .collect()
}

fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|bits| bits <= most) && !length.starts_with('+')
}

/// The user's Secrets are not the operator's own, which it would write to, and remove when they are not needed.
fn secrets(deployment: &ContourDeployment, names: &Names) -> Vec<Problem> {
    let Some(refs) = &deployment.spec.certificates.secret_refs else { return Vec::new() };
    let own = [&names.contour_secret, &names.envoy_secret, &names.ca_secret];
    let taken = [("contour", &refs.contour), ("envoy", &refs.envoy)]
        .into_iter()
        .filter(|(_, name)| own.contains(name));
    taken
        .map(|(field, name)| {
            let message =
                format!("\"{name}\" is the name of a Secret that the operator makes itself; use another");
            Problem::invalid(format!("spec.certificates.secretRefs.{field}"), message)
        })
        .collect()
}
