//! The operator: from a `ContourDeployment` to a whole installation, kept so.
//!
//! The pure core says what should be; the edge compares it with what is, and writes:
//!
//! | part | what it does |
//! |---|---|
//! | [`names`] | what the children of a `ContourDeployment` are called |
//! | [`validate`] | what is wrong with a `ContourDeployment` that its schema cannot tell |
//! | [`policy`] | what a `ContourDeployment` may ask for |
//! | [`clash`] | what two `ContourDeployment`s cannot both have |
//! | [`build`] | the children, as typed objects |
//! | [`patch`] | what patches make of them |
//! | [`certificates`] | the Secrets with certificates, step by step |
//! | [`adoption`] | what was made by others, and is taken over |
//! | [`ownership`] | which objects are children, and which only say so |
//! | [`render`], [`diff`] | all of that for somebody who wants to see it before |

pub mod adoption;
pub mod apply;
pub mod build;
pub mod capabilities;
pub mod certificates;
pub mod child;
pub mod clash;
pub mod cli;
pub mod controller;
pub mod defaults;
pub mod diff;
pub mod documents;
pub mod events;
mod families;
pub mod image;
pub mod live;
pub mod metrics;
pub mod names;
pub mod observe;
pub mod ownership;
mod pace;
pub mod patch;
pub mod pod;
pub mod policy;
pub mod problem;
pub mod prune;
pub mod reconcile;
pub mod render;
pub mod rules;
pub mod run;
pub mod settings;
pub mod status;
pub mod validate;
pub mod writer;
