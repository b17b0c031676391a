//! `explain`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use image::explain::{Question, Transport, explain};
use image::findings::Findings;
use image::run::hits::Source;
use image::site::SitePaths;

use super::site::{Found, is_netdoms, programs, wrong};
use crate::args::Explain;
use crate::terminal::print;

pub(crate) fn perform(asked: &Explain) -> Result<ExitCode> {
    if is_netdoms(&asked.config) {
        bail!(
            "{} is netdom's, which has no rules about packets: `inspect` shows what holds on its bridges",
            asked.config.display()
        );
    }
    let question = question(asked)?;
    let paths = SitePaths {
        config: asked.config.clone(),
        network: asked.network.clone(),
        programs: programs(asked.shell),
    };
    let site = paths.site()?;
    let policy = match shorewall::compile(&site) {
        Ok(compiled) => compiled.policy,
        Err(report) => {
            let found = Found {
                report: Some(&report),
                findings: &Findings::default(),
            };
            found.show()?;
            print(&wrong(&asked.config, found.errors()))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let explanation = explain(policy, &question)?;
    if asked.json {
        print(&serde_json::to_string_pretty(&explanation)?)?;
    } else {
        let source = Source::new(&site);
        print(explanation.text(|place| line(&source, place)).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the user wrote at a place such as `shorewall/rules:14`.
fn line(source: &Source, place: &str) -> Option<String> {
    let (file, line) = place.split_whitespace().next()?.rsplit_once(':')?;
    let text = source.line(file, line.parse().ok()?).text;
    (!text.is_empty()).then_some(text)
}

fn question(asked: &Explain) -> Result<Question> {
    let ports = |name: &str| match asked.dport {
        Some(destination) => Ok((asked.sport, destination)),
        None => bail!("{name} goes to a port: add --dport N"),
    };
    let transport = match asked.proto {
        6 => {
            let (source, destination) = ports("tcp")?;
            Transport::Tcp {
                source,
                destination,
            }
        }
        17 => {
            let (source, destination) = ports("udp")?;
            Transport::Udp {
                source,
                destination,
            }
        }
        other if asked.dport.is_some() => {
            bail!("protocol {other} has no ports: leave --dport out")
        }
        1 => {
            let (kind, code) = asked.icmp_type;
            Transport::Icmp { kind, code }
        }
        other => Transport::Other(other),
    };
    Ok(Question {
        ingress: asked.ingress.clone(),
        from: asked.from,
        to: asked.to,
        transport,
    })
}
