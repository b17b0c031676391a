//! Compiles the directories given (laid out like /etc, or `SHOREWALL_FOLDER:INTERFACES_FILE`) and
//! prints what was found.

use shorewall::{Site, Style};

fn main() {
    for argument in std::env::args().skip(1) {
        let site = match argument.split_once(':') {
            Some((shorewall, network)) => Site::new(shorewall, network),
            None => Site::from_etc(&argument),
        };
        match shorewall::compile(&site) {
            Ok(compiled) => {
                print!("{}", compiled.warnings.render(Style::Plain));
                println!("{argument}: right\n{:#?}", compiled.policy);
            }
            Err(report) => {
                print!("{}", report.render(Style::Plain));
                println!("{argument}: {} errors", report.errors());
            }
        }
    }
}
