//! The model as text, one line a route: for the debug page and for golden states. What is at its default is left out.

use std::fmt::{self, Display, Formatter, Write as _};

use crate::model::{
    Action, CircuitBreakers, Cluster, Discovery, Forward, HashSource, HeaderMatch, HeaderPolicy, HeaderValue,
    HealthCheck, HostRewrite, LoadBalancer, PathMatch, PathRewrite, Protocol, QueryMatch, QueryValue,
    Redirect, RedirectPath, Retry, Route, RouteMatch, SecureHost, TcpProxy, Termination, Timeout, TlsVersion,
    VirtualHost, WeightedCluster,
};

impl Display for VirtualHost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "host {}", self.fqdn)?;
        for route in &self.plain {
            writeln!(f, "  plain  {route}")?;
        }
        match &self.secure {
            None => Ok(()),
            Some(SecureHost::Passthrough { proxy }) => writeln!(f, "  passthrough -> {proxy}"),
            Some(SecureHost::Tcp { tls, proxy }) => writeln!(f, "  {tls}\n  tcp -> {proxy}"),
            Some(SecureHost::Http { tls, routes }) => {
                writeln!(f, "  {tls}")?;
                routes.iter().try_for_each(|route| writeln!(f, "  secure {route}"))
            }
        }
    }
}

impl Display for Termination {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "tls {} {}..{}", self.secret, self.minimum, self.maximum)
    }
}

impl Display for TlsVersion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

impl Display for TcpProxy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{} {}]", Clusters(&self.clusters), self.origin.kind, self.origin.object)
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} [{} {}]", self.matches, self.action, self.origin.kind, self.origin.object)
    }
}

impl Display for RouteMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.path {
            PathMatch::Exact(path) => write!(f, "exact {path}")?,
            PathMatch::Regex(regex) => write!(f, "regex {regex}")?,
            PathMatch::Prefix(prefix) => write!(f, "prefix {prefix}")?,
            PathMatch::Segments(segments) => write!(f, "segments {segments}")?,
        }
        self.headers.iter().try_for_each(|header| write!(f, " {header}"))?;
        self.query.iter().try_for_each(|query| write!(f, " {query}"))
    }
}

impl Display for HeaderMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "header({}{} ", if self.invert { "not " } else { "" }, self.name)?;
        match &self.value {
            HeaderValue::Exact(value) => write!(f, "= {value:?}")?,
            HeaderValue::Regex(value) => write!(f, "~ {value:?}")?,
            HeaderValue::Contains(value) => write!(f, "contains {value:?}")?,
            HeaderValue::Present => f.write_str("present")?,
        }
        f.write_str(if self.ignore_case { " ignoring case" } else { "" })?;
        f.write_str(if self.missing_is_empty { " missing is empty" } else { "" })?;
        f.write_char(')')
    }
}

impl Display for QueryMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "query({} ", self.name)?;
        match &self.value {
            QueryValue::Exact(value) => write!(f, "= {value:?}")?,
            QueryValue::Regex(value) => write!(f, "~ {value:?}")?,
            QueryValue::Prefix(value) => write!(f, "prefix {value:?}")?,
            QueryValue::Suffix(value) => write!(f, "suffix {value:?}")?,
            QueryValue::Contains(value) => write!(f, "contains {value:?}")?,
            QueryValue::Present => f.write_str("present")?,
        }
        f.write_str(if self.ignore_case { " ignoring case)" } else { ")" })
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forward(forward) => forward.fmt(f),
            Self::UpgradeToHttps => f.write_str("301 to https"),
            Self::Redirect(redirect) => redirect.fmt(f),
            Self::Respond { status, body } if body.is_empty() => write!(f, "answer {status}"),
            Self::Respond { status, body } => write!(f, "answer {status} {body:?}"),
        }
    }
}

impl Display for Redirect {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} to", self.status)?;
        option(f, "scheme", self.scheme.as_ref())?;
        option(f, "host", self.hostname.as_ref())?;
        option(f, "port", self.port)?;
        match &self.path {
            None => Ok(()),
            Some(RedirectPath::Full(path)) => write!(f, " path={path}"),
            Some(RedirectPath::Prefix(prefix)) => write!(f, " prefix={prefix}"),
        }
    }
}

impl Display for Forward {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Clusters(&self.clusters).fmt(f)?;
        f.write_str(if self.websockets { " websockets" } else { "" })?;
        timeout(f, "timeout", self.response_timeout)?;
        timeout(f, "idle", self.idle_timeout)?;
        option(f, "retry", self.retry.as_ref())?;
        if let Some(PathRewrite::Prefix(prefix)) = &self.rewrite {
            write!(f, " rewrite={prefix}")?;
        }
        for input in &self.hash {
            let terminal = if input.terminal { "!" } else { "" };
            match &input.source {
                HashSource::SessionCookie => write!(f, " hash=cookie{terminal}")?,
                HashSource::Header(name) => write!(f, " hash=header:{name}{terminal}")?,
                HashSource::QueryParameter(name) => write!(f, " hash=query:{name}{terminal}")?,
                HashSource::SourceIp => write!(f, " hash=source{terminal}")?,
            }
        }
        headers(f, "request", &self.request_headers)?;
        headers(f, "response", &self.response_headers)
    }
}

impl Display for Retry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}*{}", self.on, self.count)?;
        timeout(f, "per-try", self.per_try_timeout)?;
        if self.status_codes.is_empty() { Ok(()) } else { write!(f, " codes={:?}", self.status_codes) }
    }
}

/// Clusters with their weights, where there is more than one.
struct Clusters<'c>(&'c [WeightedCluster]);

impl Display for Clusters<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, one) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { " + " } else { "" })?;
            if self.0.len() > 1 {
                write!(f, "{}*", one.weight)?;
            }
            one.cluster.fmt(f)?;
            headers(f, "request", &one.request_headers)?;
            headers(f, "response", &one.response_headers)?;
        }
        Ok(())
    }
}

impl Display for Cluster {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)?;
        let mut extra = String::new();
        self.write_extra(&mut extra)?;
        if extra.is_empty() { Ok(()) } else { write!(f, "({})", extra.trim_start()) }
    }
}

impl Cluster {
    fn write_extra(&self, f: &mut String) -> fmt::Result {
        match &self.discovery {
            Discovery::Dns { hostname, port } => write!(f, " dns={hostname}:{port}")?,
            Discovery::Slices(of) => {
                option(f, "port-name", of.port_name.as_deref())?;
                option(f, "health-port", of.health_port.as_ref().map(|p| p.number))?;
            }
        }
        let protocol = match self.protocol {
            Protocol::Plain => None,
            Protocol::H2c => Some("h2c"),
            Protocol::H2 => Some("h2"),
            Protocol::Tls => Some("tls"),
        };
        option(f, "protocol", protocol)?;
        if let Some(validation) = &self.validation {
            write!(f, " ca={} names={}", validation.secret, validation.subject_names.join(","))?;
        }
        option(f, "sni", self.sni.as_ref())?;
        if self.load_balancer != LoadBalancer::RoundRobin {
            write!(f, " lb={:?}", self.load_balancer)?;
        }
        option(f, "health", self.health_check.as_ref())?;
        timeout(f, "idle-connection", self.idle_connection_timeout)?;
        breakers(f, &self.circuit_breakers)
    }
}

impl Display for HealthCheck {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.http {
            None => f.write_str("connect")?,
            Some(http) => {
                write!(f, "{}{}", http.host, http.path)?;
                http.expected_statuses.iter().try_for_each(|(start, end)| write!(f, "[{start},{end})"))?;
            }
        }
        let (interval, timeout) = (self.interval.as_secs(), self.timeout.as_secs());
        write!(f, " {interval}s/{timeout}s {}-{}", self.unhealthy_threshold, self.healthy_threshold)
    }
}

fn breakers(f: &mut String, breakers: &CircuitBreakers) -> fmt::Result {
    option(f, "max-connections", breakers.max_connections)?;
    option(f, "max-pending-requests", breakers.max_pending_requests)?;
    option(f, "max-requests", breakers.max_requests)?;
    option(f, "max-retries", breakers.max_retries)?;
    option(f, "per-host-max-connections", breakers.per_host_max_connections)
}

fn headers(f: &mut Formatter<'_>, side: &str, policy: &HeaderPolicy) -> fmt::Result {
    policy.set.iter().try_for_each(|(name, value)| write!(f, " {side}:{name}={value:?}"))?;
    policy.remove.iter().try_for_each(|name| write!(f, " {side}:-{name}"))?;
    match &policy.host {
        None => Ok(()),
        Some(HostRewrite::Literal(host)) => write!(f, " host={host}"),
        Some(HostRewrite::FromHeader(header)) => write!(f, " host=header:{header}"),
    }
}

fn option(f: &mut impl fmt::Write, name: &str, value: Option<impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {name}={value}"))
}

fn timeout(f: &mut impl fmt::Write, name: &str, value: Timeout) -> fmt::Result {
    match value {
        Timeout::Default => Ok(()),
        Timeout::Disabled => write!(f, " {name}=infinity"),
        Timeout::After(duration) => write!(f, " {name}={duration:?}"),
    }
}
