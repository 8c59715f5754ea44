//! Access logs: one file logger for each listener.

use envoy_types::pb::envoy::config::accesslog::v3 as pb;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::file_access_log::AccessLogFormat;
use envoy_types::pb::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
use pb::access_log_filter::FilterSpecifier;

use crate::proto::{any, extension, inline_text};
use crate::{AccessLogLevel, Settings};

/// The access loggers that write to `path`: one, or none if logging is disabled.
pub(crate) fn loggers(path: &str, settings: &Settings) -> Vec<pb::AccessLog> {
    let filter = match settings.access_log_level {
        AccessLogLevel::Info => None,
        AccessLogLevel::Error => Some(failures(300)),
        AccessLogLevel::Critical => Some(failures(500)),
        AccessLogLevel::Disabled => return Vec::new(),
    };
    let file = FileAccessLog {
        path: path.to_owned(),
        access_log_format: settings.access_log_format.as_deref().filter(|f| !f.is_empty()).map(format),
    };
    vec![pb::AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter,
        config_type: Some(pb::access_log::ConfigType::TypedConfig(any(&file))),
    }]
}

fn format(text: &str) -> AccessLogFormat {
    // The one formatter Contour documents that is not built into Envoy.
    let formatter = text
        .contains("%REQ_WITHOUT_QUERY(")
        .then(|| extension("envoy.formatter.req_without_query", &ReqWithoutQuery::default()));
    AccessLogFormat::LogFormat(core::SubstitutionFormatString {
        format: Some(core::substitution_format_string::Format::TextFormatSource(inline_text(text))),
        formatters: formatter.into_iter().collect(),
        ..Default::default()
    })
}

/// Statuses from `status` on, and everything that has a response flag.
fn failures(status: u32) -> pb::AccessLogFilter {
    let statuses = FilterSpecifier::StatusCodeFilter(pb::StatusCodeFilter {
        comparison: Some(pb::ComparisonFilter {
            op: pb::comparison_filter::Op::Ge.into(),
            value: Some(core::RuntimeUInt32 {
                default_value: status,
                runtime_key: "contour.accesslog.filter.status_code".to_owned(),
            }),
        }),
    });
    let flags = FilterSpecifier::ResponseFlagFilter(pb::ResponseFlagFilter::default());
    let filters = [statuses, flags].into_iter().map(filter).collect();
    filter(FilterSpecifier::OrFilter(pb::OrFilter { filters }))
}

fn filter(specifier: FilterSpecifier) -> pb::AccessLogFilter {
    pb::AccessLogFilter { filter_specifier: Some(specifier) }
}
