//! What a run of the house found out, for programs (`--json`) and as tables for people.

use std::fmt::Write as _;

use serde::Serialize;

use super::dom0::{Dom0, Whose, list};
use crate::run::report::{Case, Platform};
use crate::run::table::{self, Style};

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What it ran on.
    pub platform: Platform,
    /// The traffic that was tried, in order.
    pub cases: Vec<Case>,
    /// What was in dom0 meanwhile.
    pub house: Dom0,
    /// What is in that of a host with the same guests, its card's driver, a bridge and QEMU in dom0.
    pub stock: Dom0,
    /// The folder that holds the consoles' logs.
    pub logs: String,
}

/// The driver of the lab's card, in Linux.
pub const CARD_DRIVER: &str = "e1000e";

/// Linux' backend of guests' vifs, and what connects them.
const NETWORK_MODULES: [&str; 2] = ["bridge", "xen_netback"];

/// A line of the comparison.
struct Row {
    what: &'static str,
    house: String,
    stock: String,
    /// `None`: a figure to look at.
    as_expected: Option<bool>,
}

impl Report {
    /// Whether every case came out as it should, and dom0 is without what the house is there to take out of it.
    pub fn as_expected(&self) -> bool {
        !self.cases.is_empty()
            && self.cases.iter().all(Case::as_expected)
            && self.rows().iter().all(|row| row.as_expected != Some(false))
    }

    /// What the stock host has as well shows that it would have been seen.
    fn rows(&self) -> Vec<Row> {
        let Self { house, stock, .. } = self;
        let figure = |what, of: &dyn Fn(&Dom0) -> String, as_expected| Row {
            what,
            house: of(house),
            stock: of(stock),
            as_expected,
        };
        let emulators = |dom0: &Dom0| list(dom0.emulators().into_iter().map(str::to_owned));
        let drivers = |dom0: &Dom0| match dom0.has_module(CARD_DRIVER) {
            true => CARD_DRIVER.to_owned(),
            false => "none".to_owned(),
        };
        let network = |dom0: &Dom0| {
            let named = NETWORK_MODULES.iter().copied();
            let there = named.filter(|name| dom0.has_module(name));
            list(there.map(str::to_owned))
        };
        let modules = |dom0: &Dom0| {
            let kib = dom0.module_bytes() / 1024;
            format!("{}, {kib} KiB", dom0.modules.len())
        };
        let only_stock =
            |is_there: &dyn Fn(&Dom0) -> bool| Some(!is_there(house) && is_there(stock));
        let less = |count: &dyn Fn(&Dom0) -> u64| Some(count(house) < count(stock));
        vec![
            figure(
                "device models (QEMU)",
                &emulators,
                only_stock(&|dom0| !dom0.emulators().is_empty()),
            ),
            figure(
                "driver of the card",
                &drivers,
                only_stock(&|dom0| dom0.has_module(CARD_DRIVER)),
            ),
            figure(
                "bridge, vifs' backend",
                &network,
                only_stock(&|dom0| NETWORK_MODULES.iter().any(|name| dom0.has_module(name))),
            ),
            figure(
                "network interfaces",
                &|dom0| list(dom0.interfaces.iter().cloned()),
                only_stock(&|dom0| !dom0.interfaces.is_empty()),
            ),
            figure(
                "processes of root",
                &|dom0| dom0.roots_processes().to_string(),
                None,
            ),
            figure(
                "  their programs",
                &|dom0| dom0.programs(Whose::Roots),
                None,
            ),
            figure(
                "processes of others",
                &|dom0| dom0.programs(Whose::Others),
                None,
            ),
            figure(
                "resident memory of all",
                &|dom0| format!("{} KiB", dom0.resident_kib()),
                less(&Dom0::resident_kib),
            ),
            figure("kernel modules", &modules, less(&Dom0::module_bytes)),
            figure("open sockets", &|dom0| dom0.all_sockets().to_string(), None),
            figure(
                "  of them, to a network",
                &|dom0| dom0.network_sockets().to_string(),
                Some(house.network_sockets() == 0),
            ),
        ]
    }

    /// All of it as text.
    pub fn render(&self, style: Style) -> String {
        let Platform {
            xen_version,
            dom0_kernel,
        } = &self.platform;
        let rows = self.rows();
        let compared: Vec<_> = rows
            .iter()
            .map(|row| (row.as_expected, row.what, &*row.house, &*row.stock))
            .collect();
        let of = self.cases.len() + rows.iter().filter(|row| row.as_expected.is_some()).count();
        let wrong = self.cases.iter().filter(|case| !case.as_expected()).count()
            + rows
                .iter()
                .filter(|row| row.as_expected == Some(false))
                .count();
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "Xen {xen_version}, dom0 Linux {dom0_kernel}\n");
        let _ = writeln!(out, "{}", table::cases(&self.cases, style));
        let heads = ["", "left in dom0", "the house", "a stock host"];
        let _ = writeln!(out, "{}", table::compared(heads, &compared, style));
        let told = table::told(self.as_expected(), wrong, of, style);
        let _ = writeln!(out, "{told} Consoles and logs: {}", self.logs);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::dom0::samples::{HOUSE, STOCK, dom0};
    use super::*;
    use crate::run::report::Outcome;
    use crate::run::report::samples::case;

    fn report(house: &str, stock: &str) -> Report {
        let line = "REJECT loc net tcp 25";
        Report {
            platform: Platform {
                xen_version: "4.17.5".to_owned(),
                dom0_kernel: "6.1.0-37-amd64".to_owned(),
            },
            cases: vec![case(Outcome::Rejected, Outcome::Rejected, line)],
            house: dom0(house),
            stock: dom0(stock),
            logs: "target/lab/runs/1".to_owned(),
        }
    }

    #[test]
    fn a_good_run_reads_at_a_glance() {
        let report = report(HOUSE, STOCK);
        let text = report.render(Style::Plain);
        assert!(report.as_expected(), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for row in [
            "ok device models (QEMU) none xen-qemu-system-i386",
            "ok driver of the card none e1000e",
            "processes of root 2 4",
            "All as expected. Consoles and logs: target/lab/runs/1",
        ] {
            assert!(words.contains(row), "{text}");
        }
    }

    #[test]
    fn what_is_still_in_dom0_fails_and_says_so() {
        for line in [
            "process 0 1 /usr/libexec/xen-qemu-system-i386",
            "module e1000e 1",
            "module xen_netback 1",
            "interface eth0",
            "sockets packet 1",
        ] {
            let report = report(&format!("{line}\n{HOUSE}"), STOCK);
            let text = report.render(Style::Plain);
            assert!(!report.as_expected(), "{line}\n{text}");
            assert!(text.contains("FAILED"), "{text}");
            assert!(
                text.contains("1 of 8 did not come out as expected."),
                "{text}"
            );
        }
    }

    #[test]
    fn a_stock_host_without_what_is_looked_for_shows_nothing() {
        assert!(!report(HOUSE, HOUSE).as_expected());
        let mut untried = report(HOUSE, STOCK);
        untried.cases.clear();
        assert!(!untried.as_expected());
    }
}
