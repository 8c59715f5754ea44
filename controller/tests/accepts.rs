//! Texts at the edges of what Envoy takes, in every field that a tenant writes: whether we say the same, and that what we send for what we take
//! is taken. The table is `accepts/rules.yaml`; `docs/envoy-accepts.md` says why the two columns differ where they do.

mod support;

use std::collections::BTreeMap;

use anyhow::Result;
use contour_resource::ResourceType;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::route::v3 as pb;
use envoy_types::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use pb::header_matcher::HeaderMatchSpecifier;
use pb::query_parameter_matcher::QueryParameterMatchSpecifier;
use pb::redirect_action::PathRewriteSpecifier;
use pb::route::Action;
use pb::route_action::{ClusterSpecifier, HashPolicy, HostRewriteSpecifier, hash_policy};
use pb::route_match::PathSpecifier;
use prost::Message;
use serde::Deserialize;
use serde_json::{Value, json};

use support::Built;
use support::judge::{Judge, Verdict};

/// A text, and what is expected of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    text: String,
    #[serde(default = "once")]
    times: usize,
    ours: bool,
    envoy: bool,
}

fn once() -> usize {
    1
}

/// The HTTPProxy's route that has the text in a field.
fn object(field: &str, text: &str) -> Value {
    let condition = |condition: Value| json!({"conditions": [condition]});
    let header = |kind: &str| condition(json!({"header": {"name": "a", kind: text}}));
    let query = |kind: &str| condition(json!({"queryParameter": {"name": "a", kind: text}}));
    let hash = |policy: Value| json!({"loadBalancerPolicy": {"strategy": "RequestHash", "requestHashPolicies": [policy]}});
    match field {
        "set-value" => json!({"responseHeadersPolicy": {"set": [{"name": "x-a", "value": text}]}}),
        "set-name" => json!({"responseHeadersPolicy": {"set": [{"name": text, "value": "a"}]}}),
        "remove-name" => json!({"responseHeadersPolicy": {"remove": [text]}}),
        "condition-header-name" => condition(json!({"header": {"name": text, "present": true}})),
        "condition-header-exact" => header("exact"),
        "condition-header-contains" => header("contains"),
        "condition-header-regex" => header("regex"),
        "condition-query-name" => condition(json!({"queryParameter": {"name": text, "present": true}})),
        "condition-query-exact" => query("exact"),
        "condition-query-regex" => query("regex"),
        "path-prefix" => condition(json!({"prefix": text})),
        "path-exact" => condition(json!({"exact": text})),
        "path-regex" => condition(json!({"regex": text})),
        "replace-prefix" => json!({"pathRewritePolicy": {"replacePrefix": [{"replacement": text}]}}),
        "redirect-host" => json!({"services": [], "requestRedirectPolicy": {"hostname": text}}),
        "redirect-path" => json!({"services": [], "requestRedirectPolicy": {"path": text}}),
        "redirect-prefix" => json!({"services": [], "requestRedirectPolicy": {"prefix": text}}),
        "host-rewrite" => json!({"requestHeadersPolicy": {"set": [{"name": "Host", "value": text}]}}),
        "hash-header" => hash(json!({"headerHashOptions": {"headerName": text}})),
        "hash-query" => hash(json!({"queryParameterHashOptions": {"parameterName": text}})),
        "health-path" => json!({"healthCheckPolicy": {"path": text}}),
        "health-host" => json!({"healthCheckPolicy": {"path": "/", "host": text}}),
        other => panic!("{other} is no field"),
    }
}

/// The HTTPProxy of a row, with the route that has its text.
fn proxy(name: &str, route: Value) -> Value {
    let mut whole = json!({"services": [{"name": "web", "port": 80}]});
    if let (Some(whole), Value::Object(fields)) = (whole.as_object_mut(), route) {
        whole.extend(fields);
        whole.retain(|_, value| *value != json!([]));
    }
    json!({
        "apiVersion": "projectcontour.io/v1", "kind": "HTTPProxy", "metadata": {"name": name, "namespace": "team"},
        "spec": {"virtualhost": {"fqdn": format!("{name}.example.com")}, "routes": [whole]},
    })
}

/// JSON without a control character: what reads the file as YAML takes none.
fn escaped(json: &Value) -> String {
    let escaped = |c: char| if c.is_control() { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    json.to_string().chars().map(escaped).collect()
}

/// Everything that becomes of these objects and of the Service that they name.
fn build(mut objects: Vec<Value>) -> Result<Built> {
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "team"},
        "spec": {"ports": [{"port": 80}]},
    }));
    let directory = tempfile::tempdir()?;
    for (number, some) in objects.chunks(16).enumerate() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": some});
        std::fs::write(directory.path().join(format!("{number}.yaml")), escaped(&list))?;
    }
    Ok(Built::from_directory(directory.path()))
}

/// What is wrong with an object.
fn problems(built: &Built, name: &str) -> Vec<String> {
    let object = format!("HTTPProxy team/{name}:");
    let mut problems: Vec<String> =
        built.problems.iter().filter(|problem| problem.contains(&object)).cloned().collect();
    let status = built.statuses.iter().find(|status| &*status.object.name == name);
    if status.is_none() && problems.is_empty() {
        problems.push("there is no status".to_owned());
    }
    let issues = status.into_iter().flat_map(|status| status.errors.iter().chain(&status.warnings));
    problems.extend(issues.map(ToString::to_string));
    problems
}

/// Whether Envoy takes all that was built.
async fn sent(judge: &mut Judge, built: &Built) -> Result<Verdict> {
    let mut hosts = Vec::new();
    let mut clusters = Vec::new();
    for (kind, resource) in built.resources() {
        match kind {
            ResourceType::Route => {
                hosts.extend(pb::RouteConfiguration::decode(resource.body())?.virtual_hosts);
            }
            ResourceType::Cluster => clusters.push(Cluster::decode(resource.body())?),
            _ => {}
        }
    }
    match judge.routes(hosts).await? {
        Ok(()) => judge.clusters(clusters).await,
        refused => Ok(refused),
    }
}

fn string(pattern: MatchPattern) -> StringMatcher {
    StringMatcher { match_pattern: Some(pattern), ..Default::default() }
}

fn regex(text: &str) -> RegexMatcher {
    RegexMatcher { regex: text.to_owned(), ..Default::default() }
}

/// The condition of a route that has the text in this field, as it is.
fn condition(field: &str, text: &str) -> pb::RouteMatch {
    let owned = text.to_owned();
    let header = |name: &str, specifier| pb::HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(specifier),
        ..Default::default()
    };
    let query = |name: &str, specifier| pb::QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(specifier),
    };
    let header_text = |pattern| vec![header("a", HeaderMatchSpecifier::StringMatch(string(pattern)))];
    let query_text = |pattern| vec![query("a", QueryParameterMatchSpecifier::StringMatch(string(pattern)))];
    let (mut path, mut headers, mut query_parameters) =
        (PathSpecifier::Prefix("/".to_owned()), vec![], vec![]);
    match field {
        "condition-header-name" => headers = vec![header(text, HeaderMatchSpecifier::PresentMatch(true))],
        "condition-header-exact" => headers = header_text(MatchPattern::Exact(owned)),
        "condition-header-contains" => headers = header_text(MatchPattern::Contains(owned)),
        "condition-header-regex" => headers = header_text(MatchPattern::SafeRegex(regex(text))),
        "condition-query-name" => {
            query_parameters = vec![query(text, QueryParameterMatchSpecifier::PresentMatch(true))];
        }
        "condition-query-exact" => query_parameters = query_text(MatchPattern::Exact(owned)),
        "condition-query-regex" => query_parameters = query_text(MatchPattern::SafeRegex(regex(text))),
        "path-prefix" => path = PathSpecifier::Prefix(owned),
        "path-exact" => path = PathSpecifier::Path(owned),
        "path-regex" => path = PathSpecifier::SafeRegex(regex(text)),
        _ => {}
    }
    pb::RouteMatch { path_specifier: Some(path), headers, query_parameters, ..Default::default() }
}

/// The action that has the text in this field, as it is.
fn action(field: &str, text: &str) -> Action {
    let owned = text.to_owned();
    let cluster = Some(ClusterSpecifier::Cluster("none".to_owned()));
    let mut action = pb::RouteAction { cluster_specifier: cluster, ..Default::default() };
    let hash = |specifier| vec![HashPolicy { policy_specifier: Some(specifier), ..Default::default() }];
    let redirect = |path| pb::RedirectAction { path_rewrite_specifier: Some(path), ..Default::default() };
    match field {
        "redirect-host" => {
            return Action::Redirect(pb::RedirectAction { host_redirect: owned, ..Default::default() });
        }
        "redirect-path" => return Action::Redirect(redirect(PathRewriteSpecifier::PathRedirect(owned))),
        "redirect-prefix" => return Action::Redirect(redirect(PathRewriteSpecifier::PrefixRewrite(owned))),
        "replace-prefix" => action.prefix_rewrite = owned,
        "host-rewrite" => {
            action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(owned));
        }
        "hash-header" => {
            let header = hash_policy::Header { header_name: owned, ..Default::default() };
            action.hash_policy = hash(hash_policy::PolicySpecifier::Header(header));
        }
        "hash-query" => {
            let query = hash_policy::QueryParameter { name: owned };
            action.hash_policy = hash(hash_policy::PolicySpecifier::QueryParameter(query));
        }
        _ => {}
    }
    Action::Route(action)
}

/// A route that has the text in a field, as it is.
fn route(field: &str, text: &str) -> pb::Route {
    let set = |key: &str, value: &str| {
        let header = core::HeaderValue { key: key.to_owned(), value: value.to_owned(), ..Default::default() };
        vec![core::HeaderValueOption { header: Some(header), ..Default::default() }]
    };
    let mut route = pb::Route {
        r#match: Some(condition(field, text)),
        action: Some(action(field, text)),
        ..Default::default()
    };
    match field {
        "set-value" => route.response_headers_to_add = set("x-a", text),
        "set-name" => route.response_headers_to_add = set(text, "a"),
        "remove-name" => route.response_headers_to_remove = vec![text.to_owned()],
        _ => {}
    }
    route
}

/// A cluster with the text in its health check.
fn checked_cluster(field: &str, text: &str) -> Cluster {
    use core::health_check::{HealthChecker, HttpHealthCheck};
    let (path, host) = if field == "health-path" { (text, "a") } else { ("/", text) };
    let http = HttpHealthCheck { path: path.to_owned(), host: host.to_owned(), ..Default::default() };
    let second = envoy_types::pb::google::protobuf::Duration { seconds: 1, nanos: 0 };
    let one = envoy_types::pb::google::protobuf::UInt32Value { value: 1 };
    let check = core::HealthCheck {
        timeout: Some(second),
        interval: Some(second),
        unhealthy_threshold: Some(one),
        healthy_threshold: Some(one),
        health_checker: Some(HealthChecker::HttpHealthCheck(http)),
        ..Default::default()
    };
    Cluster { name: "checked".to_owned(), health_checks: vec![check], ..Default::default() }
}

/// What Envoy says to the text as it is.
async fn written(judge: &mut Judge, field: &str, text: &str) -> Result<Verdict> {
    if field.starts_with("health-") {
        return judge.clusters(vec![checked_cluster(field, text)]).await;
    }
    let host = pb::VirtualHost {
        name: "judged".to_owned(),
        domains: vec!["judged.invalid".to_owned()],
        routes: vec![route(field, text)],
        ..Default::default()
    };
    judge.routes(vec![host]).await
}

#[tokio::test]
async fn what_we_say_is_what_envoy_says() -> Result<()> {
    let table = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/accepts/rules.yaml"))?;
    let table: BTreeMap<String, Vec<Row>> = serde_saphyr::from_str(&table)?;
    let mut judge = Judge::start(1 << 20).await?;
    let rows: Vec<(&String, &Row)> =
        table.iter().flat_map(|(field, rows)| rows.iter().map(move |row| (field, row))).collect();
    let name = |number: usize| format!("r{number}");
    let objects = rows.iter().enumerate();
    let objects = objects
        .map(|(number, (field, row))| proxy(&name(number), object(field, &row.text.repeat(row.times))));
    let built = build(objects.collect())?;
    let mut wrong = Vec::new();
    for (number, (field, row)) in rows.iter().enumerate() {
        let text = row.text.repeat(row.times);
        let shown: String = format!("{field} {text:?}").chars().take(100).collect();
        let problems = problems(&built, &name(number));
        if problems.is_empty() != row.ours {
            wrong.push(format!("{shown}: we say {problems:?}"));
        }
        if let Some(long) = problems.iter().find(|problem| problem.len() > 1000) {
            wrong.push(format!("{shown}: told in {} bytes", long.len()));
        }
        let envoy = written(&mut judge, field, &text).await?;
        if envoy.is_ok() != row.envoy {
            wrong.push(format!("{shown}: Envoy says {envoy:?}"));
        }
    }
    if let Err(why) = sent(&mut judge, &built).await? {
        wrong.push(format!("what we send is refused: {why}"));
    }
    let wrong: Vec<String> = wrong.into_iter().map(|line| line.chars().take(400).collect()).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
