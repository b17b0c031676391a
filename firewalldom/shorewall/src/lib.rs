#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod action;
mod address;
mod blacklist;
mod bridge_ports;
mod chains;
mod columns;
mod conntrack;
mod coverage;
mod ends;
mod events;
mod expression;
mod hosts;
mod interface_options;
mod interfaces;
mod ipset;
mod level;
mod limits;
mod lines;
mod macros;
mod made;
mod masq;
mod modern;
mod names;
mod nested;
mod nested_nat;
mod network;
mod one_to_one;
mod optimized;
mod other_files;
mod packet_set;
mod pair_policy;
mod policies;
mod policy_pairs;
mod program;
mod proxy_arp;
mod reader;
mod report;
mod rules;
mod services;
mod session;
mod setting_table;
mod settings;
mod shell;
mod site;
mod snat;
mod source;
mod spread;
mod standard_actions;
mod stanza;
mod state_actions;
mod suggest;
mod support;
mod tables;
mod target;
mod time_window;
mod traffic;
mod translation;
mod unreachable;
mod unsettled;
mod user_files;
mod variables;
mod world;
mod zones;

use std::sync::Arc;

use firewalldom::policy::{Policy, Settings, States};

pub use modern::Modern;
pub use report::{Diagnostic, Location, Report, Severity, Style};
pub use site::{Programs, Site};
pub use support::support;

use chains::Chains;
use network::Network;
use rules::{Rules, Undecided};
use session::Session;
use settings::Configuration;
use state_actions::Asking;
use world::World;

/// A site whose configuration is right.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the engine reads.
    pub policy: Policy,
    /// What the user should know all the same.
    pub warnings: Report,
}

/// Compiles a site.
///
/// # Errors
///
/// The report holds everything that was found, warnings included, if anything of it is an error.
pub fn compile(site: &Site) -> Result<Compiled, Report> {
    let mut session = Session::new(site);
    let policy = build(&mut session);
    let failed = session.has_errors();
    let report = Report::new(Arc::new(session.sources), session.findings);
    match policy {
        Some(policy) if !failed => Ok(Compiled {
            policy,
            warnings: report,
        }),
        _ => Err(report),
    }
}

/// A site's old spellings as Shorewall 5.2 writes them: what a warning of [`compile`] shows is done.
///
/// Errors stop nothing: what is wrong stays as it is, and is in the report.
pub fn modernize(site: &Site) -> Modern {
    let mut session = Session::new(site);
    build(&mut session);
    let (files, changes) = modern::apply(site, &session);
    Modern {
        files,
        changes,
        report: Report::new(Arc::new(session.sources), session.findings),
    }
}

/// Reads all files in Shorewall's order; `None`: there are no zones, which is reported.
fn build(session: &mut Session<'_>) -> Option<Policy> {
    let mut network = Network::read(session);
    shell::read_params(session);
    let configuration = Configuration::read(session);
    settings::read_capabilities(session);
    session.ipsets = ipset::read(session);
    let settings = configuration.compile(session);
    let mut world = World::read(session, &mut network, &configuration);
    if world.zones.is_empty() {
        return None;
    }
    let one_to_one = one_to_one::read(session, &mut world, &configuration);
    user_files::read_actions(session);
    let blacklist = configuration.blacklist(session);
    session.asking = Asking::new(&settings, blacklist.states);
    let mut chains = Chains::read(session, &world, &configuration);
    let undecided = undecided(&settings);
    let mut destination_nat = Rules::read(
        session,
        &world,
        &mut chains,
        &settings,
        undecided,
        blacklist,
    );
    bridge_ports::check(session, &world, &chains, &destination_nat);
    let kept_from_nat = nested_nat::kept_from_nat(&world, &chains, &destination_nat);
    nested_nat::inherit_nat(&world, &chains, &mut destination_nat);
    chains.warn_of_lost_answers(session);
    chains.warn_of_unsettled_answers(session);
    world.forward_hairpins(&mut session.tables, &mut chains, &settings.hairpin);
    coverage::check(session, &world, &chains);
    world.refuse_two_checks(session, &chains);
    let policy_chains =
        nested::assemble(&mut session.tables, &world, &chains, &settings, undecided);
    one_to_one::add_inbound(&world, &one_to_one, &kept_from_nat, &mut destination_nat);
    let mut source = snat::read(session, &world);
    masq::read(session, &world, &mut source);
    // Of one and the same address, pairs for all interfaces come first, `SNAT+` next.
    let (everywhere, there): (Vec<_>, Vec<_>) =
        one_to_one.iter().partition(|pair| pair.is_everywhere());
    let everywhere = one_to_one::outbound(&world, everywhere);
    let there = one_to_one::outbound(&world, there);
    let of_interfaces = source.ahead.into_iter().chain(there).chain(source.rest);
    // With a line that is for every interface Shorewall writes what is for some of them first.
    let source_nat: Vec<_> = match world.has_line_for_all() {
        true => of_interfaces.chain(everywhere).collect(),
        false => everywhere.into_iter().chain(of_interfaces).collect(),
    };
    let raw = conntrack::read(session, &world);
    other_files::check(session);
    let tables = std::mem::take(&mut session.tables);
    if tables.overflows() {
        session.report(report::Finding::error(
            "more than 65535 limits, times, sets or lists of rules",
        ));
    }
    Some(Policy {
        site: session.site.name().to_owned(),
        files: session.sources.short_names(),
        settings,
        interfaces: world.interfaces,
        routes: world.routes,
        proxied: world.proxied,
        zones: world.zones,
        hosts: world.hosts,
        chains: policy_chains,
        pairs: chains.pairs,
        destination_nat,
        source_nat,
        rule_lists: tables.rule_lists,
        address_sets: tables.address_sets,
        raw,
        rates: tables.rates,
        connection_limits: tables.connection_limits,
        times: tables.times,
        recent_lists: tables.recent_lists.len() as u16,
    })
}

/// The states that no disposition of shorewall.conf decides about.
fn undecided(settings: &Settings) -> Undecided {
    let mut undecided = States(0);
    for (decided, state) in [
        (settings.related.is_some(), States::RELATED),
        (settings.invalid.is_some(), States::INVALID),
        (settings.untracked.is_some(), States::UNTRACKED),
    ] {
        if !decided {
            undecided = undecided.union(state);
        }
    }
    Undecided(undecided)
}
