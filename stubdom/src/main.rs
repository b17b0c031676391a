//! The stub domain's image.
#![no_std]
#![no_main]
use minios_rs::{Boot, entry};
entry!(main);
#[allow(unsafe_code)]
fn main(boot: Boot) -> ! {
    log::info!("hello from stubdom: {} KiB, command line {:?}, module {} bytes, {:?}", boot.memory_bytes / 1024, boot.command_line, boot.module.len(), minios_rs::mm::usage());
    let v: alloc::vec::Vec<u64> = (0..10000).collect();
    log::info!("sum {}", v.iter().sum::<u64>());
    log::info!("time {} wall {:?}", minios_rs::arch::pv::clock::system_time_ns(), minios_rs::arch::pv::clock::wall_clock());
    minios_rs::event::wait(Some(minios_rs::arch::pv::clock::system_time_ns() + 1_000_000_000));
    log::info!("time {}", minios_rs::arch::pv::clock::system_time_ns());
    if boot.command_line.contains("pf") { let p = 8usize; let q = unsafe { (p as *const u64).read_volatile() }; log::info!("{q}"); }
    panic!("the end");
}
extern crate alloc;
