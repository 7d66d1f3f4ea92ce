//! `helix submit`: a directory and a command, or a job list.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use helix_api::Submitted;
use helix_api::client::Client;
use helix_api::submit::{
    CommandRequest, ItemRequest, JobRequest, LimitsRequest, Network, PayloadRequest,
    RequirementRequest, ResourcesRequest, Settings,
};
use uuid::Uuid;

use super::show::Line;
use super::upload::upload;
use super::{connect, failed, watch};
use crate::arguments::values::Environment;
use crate::arguments::{Common, OutputFormat, SubmitArguments};
use crate::error::{Error, VariableError};
use crate::exit::Exit;
use crate::render::{text, units};
use crate::screen::Screen;

/// The shortest secret that can be masked.
const MIN_SECRET_BYTES: usize = 3;

/// Submits and prints the job's id, or watches the job.
pub(crate) async fn execute(
    common: &Common,
    arguments: SubmitArguments,
    screen: &Arc<Screen>,
) -> Result<Exit, Error> {
    let client = connect(common)?;
    let (mut job, base) = match &arguments.file {
        Some(file) => read(file)?,
        None => (single(&arguments)?, PathBuf::new()),
    };
    override_head(&mut job, &arguments);
    uploads(&client, &mut job, &base, screen).await?;
    let submitted = client.submit(&job).await;
    let submitted = submitted.map_err(failed("submit the job"))?;
    told(&submitted, arguments.watch, screen)?;
    if arguments.watch {
        return watch::watch(&client, std::slice::from_ref(&submitted.job), screen).await;
    }
    Ok(Exit::Success)
}

/// Says what came of a submission: the id where programs look for it, the rest where people do.
pub(super) fn told(submitted: &Submitted, watched: bool, screen: &Screen) -> Result<(), Error> {
    if screen.format() == OutputFormat::Json {
        screen.json(&Line::Submitted(submitted))?;
        return Ok(());
    }
    if submitted.repeated {
        screen.note("this job had been submitted before; nothing was added")?;
    }
    if submitted.items_with_fewer_retries > 0 {
        screen.note(&format!(
            "the queue grants no more retries than {}: fewer than asked for of {}",
            submitted.most_retries,
            units::count(submitted.items_with_fewer_retries, "item")
        ))?;
    }
    for warning in &submitted.warnings {
        screen.note(&text::clean(warning))?;
    }
    if !watched {
        screen.data(&format!("{}\n", submitted.job))?;
    }
    Ok(())
}

/// A job list, and the directory that its addresses are seen from.
fn read(path: &Path) -> Result<(JobRequest, PathBuf), Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let (content, base) = if path == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut content)
            .map_err(failed)?;
        (content, PathBuf::new())
    } else {
        let content = std::fs::read(path).map_err(failed)?;
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        (content, base)
    };
    match JobRequest::read(&content) {
        Ok(job) => Ok((job, base)),
        Err(errors) => Err(Error::JobList {
            name: path.display().to_string(),
            errors,
        }),
    }
}

/// A job of one work item.
fn single(arguments: &SubmitArguments) -> Result<JobRequest, Error> {
    let name = arguments.name.clone().unwrap_or_else(|| {
        let words = arguments.command.join(" ");
        text::line(&words, 60)
    });
    let mut settings = Settings {
        limits: LimitsRequest {
            wall_timeout_seconds: arguments.timeout.map(|limit| limit.as_secs_f64()),
            ..LimitsRequest::default()
        },
        resources: ResourcesRequest {
            cpu_millis: arguments.cpu,
            memory_bytes: arguments.memory,
            ..ResourcesRequest::default()
        },
        requirements: arguments
            .require
            .iter()
            .map(|one| RequirementRequest {
                name: one.name.clone(),
                range: one.range.clone(),
            })
            .collect(),
        artifact_globs: arguments.artifact.clone(),
        network: arguments.no_network.then_some(Network::None),
        ..Settings::default()
    };
    if let Some(directory) = &arguments.directory {
        settings.payloads.push(PayloadRequest {
            url: Some(local(directory)?),
            ..PayloadRequest::default()
        });
    }
    for variable in &arguments.env {
        let (name, value) = match variable {
            Environment::Set { name, value } => (name, value.clone()),
            Environment::Inherit { name } => (name, inherit(name)?),
        };
        settings.environment.insert(name.clone(), value);
    }
    for name in &arguments.secret_env {
        let value = inherit(name)?;
        if value.trim().len() < MIN_SECRET_BYTES {
            return Err(Error::Variable {
                name: name.clone(),
                source: VariableError::TooShort,
            });
        }
        settings.secrets.push(value.clone());
        settings.environment.insert(name.clone(), value);
    }
    let item = ItemRequest {
        name: name.clone(),
        command: CommandRequest {
            argv: Some(arguments.command.clone()),
            shell: None,
        },
        settings,
        ..ItemRequest::default()
    };
    Ok(JobRequest {
        queue: crate::demo::QUEUE.to_owned(),
        name,
        items: vec![item],
        ..JobRequest::default()
    })
}

/// A path as an address that is known for one.
fn local(path: &Path) -> Result<String, Error> {
    let absolute = path.canonicalize().map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    match absolute.into_os_string().into_string() {
        Ok(text) => Ok(text),
        Err(name) => Err(Error::Payload {
            path: path.to_owned(),
            source: crate::payloads::PayloadError::Name { path: name.into() },
        }),
    }
}

fn inherit(name: &str) -> Result<String, Error> {
    let failed = |source| Error::Variable {
        name: name.to_owned(),
        source,
    };
    std::env::var_os(name)
        .ok_or_else(|| failed(VariableError::Unset))?
        .into_string()
        .map_err(|_| failed(VariableError::NotText))
}

/// What is said on the command line wins over the job list.
fn override_head(job: &mut JobRequest, arguments: &SubmitArguments) {
    if let Some(queue) = &arguments.queue {
        job.queue.clone_from(queue);
    }
    if let Some(name) = &arguments.name {
        job.name.clone_from(name);
    }
    if let Some(source) = &arguments.source {
        job.source.clone_from(source);
    }
    job.priority = arguments.priority.unwrap_or(job.priority);
    job.retries = arguments.retries.unwrap_or(job.retries);
    job.retry_on_another_machine |= arguments.another_machine;
    job.properties.extend(arguments.property.iter().cloned());
    if let Some(id) = &arguments.id {
        job.id = Some(id.clone());
    }
    // With an id, a submission whose answer is lost can be repeated.
    job.id.get_or_insert_with(|| Uuid::now_v7().to_string());
}

/// Uploads what lies on this machine, each place once, and refers to it instead.
async fn uploads(
    client: &Client,
    job: &mut JobRequest,
    base: &Path,
    screen: &Screen,
) -> Result<(), Error> {
    let mut known: HashMap<PathBuf, String> = HashMap::new();
    let settings = job.items.iter_mut().map(|item| &mut item.settings);
    for settings in std::iter::once(&mut job.defaults).chain(settings) {
        let payloads = settings.payloads.iter_mut();
        for payload in payloads.chain(&mut settings.correlation_payloads) {
            let Some(url) = &mut payload.url else {
                continue;
            };
            if !is_local(url) {
                continue;
            }
            let path = base.join(url.as_str());
            let reference = match known.get(&path) {
                Some(reference) => reference.clone(),
                None => upload(client, &path, screen).await?,
            };
            known.insert(path, reference.clone());
            *url = reference;
        }
    }
    Ok(())
}

fn is_local(url: &str) -> bool {
    url == "."
        || ["./", "../", "/"]
            .iter()
            .any(|start| url.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_addresses() {
        for local in [".", "./a", "../a", "/a"] {
            assert!(is_local(local), "{local}");
        }
        for elsewhere in ["https://h/a", "payload:12", "file:///a", "a/b", "..a", ""] {
            assert!(!is_local(elsewhere), "{elsewhere}");
        }
    }
}
