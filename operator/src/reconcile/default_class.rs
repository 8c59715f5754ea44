//! Whether the class is the only default of the cluster, where it is to be the default.

use k8s_openapi::api::networking::v1::IngressClass;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::steps::Walk;
use super::{Error, few};
use crate::build::DEFAULT_INGRESS_CLASS;
use crate::status::other_default_classes;

impl Walk<'_> {
    /// Tells of classes of others that are the default as well, or that the own one is not, since it belongs to somebody else. They are asked
    /// for, since only classes with our labels are watched.
    pub(super) async fn tell_default_class(&mut self) {
        if !self.deployment.spec.default_ingress_class {
            return;
        }
        let api: Api<IngressClass> = Api::all(self.context.client.clone());
        let found = api.list(&ListParams::default()).await.map_err(|error| Error::Read {
            what: "the IngressClasses of the cluster".to_owned(),
            source: Box::new(error),
        });
        let Some(classes) = self.tried(found) else { return };
        if let Some(message) = told(&self.names.ingress_class, &classes.items) {
            self.report.warnings.push(other_default_classes(message));
        }
    }
}

/// What is wrong, in a sentence, if anything is.
fn told(own: &str, classes: &[IngressClass]) -> Option<String> {
    let defaults: Vec<String> = classes
        .iter()
        .filter(|class| class.annotations().get(DEFAULT_INGRESS_CLASS).is_some_and(|value| value == "true"))
        .map(ResourceExt::name_any)
        .collect();
    if !defaults.iter().any(|name| name == own) {
        return Some(format!(
            "IngressClass {own} belongs to somebody else, who decides whether it is the default"
        ));
    }
    let others: Vec<String> = defaults.into_iter().filter(|name| name != own).collect();
    (!others.is_empty()).then(|| {
        format!(
            "IngressClass {} is the default of the cluster as well: an Ingress without a class gets the newest of them; take the annotation \
             {DEFAULT_INGRESS_CLASS} from all but one",
            few(&others, ", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_default_is_right_and_everything_else_is_told() {
        let class = |name: &str, value: &str| -> IngressClass {
            let annotations = json!({DEFAULT_INGRESS_CLASS: value});
            serde_json::from_value(json!({"metadata": {"name": name, "annotations": annotations}})).unwrap()
        };
        assert_eq!(told("a", &[class("a", "true"), class("b", "false")]), None);
        let both = told("a", &[class("a", "true"), class("b", "true"), class("c", "true")]).unwrap();
        assert!(both.starts_with("IngressClass b, c is the default"), "{both}");
        let foreign = told("a", &[class("a", "false"), class("b", "true")]).unwrap();
        assert!(foreign.starts_with("IngressClass a belongs to somebody else"), "{foreign}");
    }
}
