//! The structs and constants of `abi` against Xen's own headers, compiled by the C compiler.

use minios_rs::abi::hvm::{dm_op, hvm_op, ioreq, params};
use minios_rs::abi::io::{
    blkif, console, libxenvchan, netif, pciif, ring, xenbus::XenbusState, xs_wire,
};
use minios_rs::abi::{
    callback, elfnote, errno, event_channel, grant_table, memory, physdev, sched, vcpu, xen,
};
use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};
use std::path::Path;
use std::process::Command;

const HEADERS: &str = "/usr/include/xen";

/// C expressions and what Rust makes of the same thing.
#[derive(Default)]
struct Table(Vec<(String, i64)>);

impl Table {
    fn constant(&mut self, expression: &str, value: impl TryInto<i64>) {
        let value = value
            .try_into()
            .unwrap_or_else(|_| panic!("{expression} fits an i64"));
        self.0.push((expression.to_owned(), value));
    }

    fn size(&mut self, name: &str, size: usize) {
        self.constant(&format!("sizeof({name})"), size);
    }

    fn field(&mut self, name: &str, field: &str, offset: usize) {
        self.constant(&format!("offsetof({name}, {field})"), offset);
    }

    /// Compiles and runs a program that prints every expression, and compares.
    fn compare(&self) {
        let mut program = String::from(
            "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <errno.h>\n\
             #define __XEN_INTERFACE_VERSION__ __XEN_LATEST_INTERFACE_VERSION__\n#define __XEN_TOOLS__\n#define xen_mb()\n#define xen_rmb()\n#define xen_wmb()\n\
             #include <xen/xen.h>\n#include <xen/elfnote.h>\n#include <xen/memory.h>\n#include <xen/sched.h>\n#include <xen/vcpu.h>\n#include <xen/version.h>\n#include <xen/callback.h>\n#include <xen/errno.h>\n#include <xen/event_channel.h>\n#include <xen/grant_table.h>\n#include <xen/physdev.h>\n\
             #include <xen/hvm/dm_op.h>\n#include <xen/hvm/hvm_op.h>\n#include <xen/hvm/ioreq.h>\n#include <xen/hvm/params.h>\n\
             #include <xen/io/ring.h>\n#include <xen/io/netif.h>\n#include <xen/io/blkif.h>\n#include <xen/io/protocols.h>\n#include <xen/io/console.h>\n#include <xen/io/pciif.h>\n\
             #include <xen/io/libxenvchan.h>\n#include <xen/io/xenbus.h>\n#include <xen/io/xs_wire.h>\nint main(void) {\n",
        );
        for (number, (expression, _)) in self.0.iter().enumerate() {
            program.push_str(&format!(
                "printf(\"{number} %lld\\n\", (long long)({expression}));\n"
            ));
        }
        program.push_str("return 0; }\n");
        let directory =
            std::env::temp_dir().join(format!("minios-rs-headers-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
        let (source, binary) = (directory.join("headers.c"), directory.join("headers"));
        std::fs::write(&source, program).expect("the temporary directory can be written");
        let compiled = Command::new("cc")
            .args(["-w", "-o"])
            .arg(&binary)
            .arg(&source)
            .output()
            .expect("cc runs");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        let output = Command::new(&binary)
            .output()
            .expect("what was compiled runs");
        std::fs::remove_dir_all(&directory).expect("it was just made");
        let printed: BTreeMap<usize, i64> = String::from_utf8(output.stdout)
            .expect("numbers")
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(number, value)| {
                (
                    number.parse().expect("a number"),
                    value.parse().expect("a number"),
                )
            })
            .collect();
        assert_eq!(printed.len(), self.0.len());
        for (number, (expression, ours)) in self.0.iter().enumerate() {
            assert_eq!(printed[&number], *ours, "{expression}: Xen's, ours");
        }
    }
}

macro_rules! structs {
    ($table:ident; $($c:literal => $rust:ty { $($c_field:literal => $($field:ident).+),* $(,)? })*) => {$(
        $table.size($c, size_of::<$rust>());
        $($table.field($c, $c_field, offset_of!($rust, $($field).+));)*
    )*};
}

macro_rules! constants {
    ($table:ident; $($c:literal => $rust:expr),* $(,)?) => {$($table.constant($c, $rust);)*};
}

#[test]
fn structs_and_constants_are_xens() {
    if !Path::new(HEADERS).exists() || Command::new("cc").arg("--version").output().is_err() {
        let demanded = std::env::var_os("CI").is_some()
            || std::env::var("XEN_TESTS").is_ok_and(|tier| tier == "full");
        assert!(
            !demanded,
            "install libxen-dev and gcc: Xen's headers are to be compared here"
        );
        eprintln!("not compared: {HEADERS} or cc is missing (apt install libxen-dev gcc)");
        return;
    }
    let mut table = Table::default();
    network(&mut table);
    disks(&mut table);
    cards(&mut table);
    xenstore_and_console(&mut table);
    events_and_grants(&mut table);
    errors(&mut table);
    start_of_day(&mut table);
    hypercalls(&mut table);
    requests(&mut table);
    device_model(&mut table);
    table.compare();
}

fn network(table: &mut Table) {
    structs! { table;
        "struct netif_tx_request" => netif::TxRequest {
            "gref" => gref, "offset" => offset, "flags" => flags, "id" => id, "size" => size,
        }
        "struct netif_tx_response" => netif::TxResponse { "id" => id, "status" => status }
        "struct netif_rx_request" => netif::RxRequest { "id" => id, "gref" => gref }
        "struct netif_rx_response" => netif::RxResponse {
            "id" => id, "offset" => offset, "flags" => flags, "status" => status,
        }
        "struct netif_extra_info" => netif::ExtraInfo {
            "type" => kind, "flags" => flags, "u.gso.size" => gso_size, "u.gso.type" => gso_type,
            "u.gso.features" => gso_features,
        }
    }
    constants! { table;
        "XEN_NETIF_NR_SLOTS_MIN" => netif::XEN_NETIF_NR_SLOTS_MIN,
        "XEN_NETIF_MAX_TX_SIZE" => netif::XEN_NETIF_MAX_TX_SIZE,
        "NETTXF_csum_blank" => netif::NETTXF_CSUM_BLANK,
        "NETTXF_data_validated" => netif::NETTXF_DATA_VALIDATED,
        "NETTXF_more_data" => netif::NETTXF_MORE_DATA,
        "NETTXF_extra_info" => netif::NETTXF_EXTRA_INFO,
        "NETRXF_data_validated" => netif::NETRXF_DATA_VALIDATED,
        "NETRXF_csum_blank" => netif::NETRXF_CSUM_BLANK,
        "NETRXF_more_data" => netif::NETRXF_MORE_DATA,
        "NETRXF_extra_info" => netif::NETRXF_EXTRA_INFO,
        "NETRXF_gso_prefix" => netif::NETRXF_GSO_PREFIX,
        "XEN_NETIF_EXTRA_TYPE_GSO" => netif::XEN_NETIF_EXTRA_TYPE_GSO,
        "XEN_NETIF_EXTRA_TYPE_MCAST_ADD" => netif::XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
        "XEN_NETIF_EXTRA_TYPE_MCAST_DEL" => netif::XEN_NETIF_EXTRA_TYPE_MCAST_DEL,
        "XEN_NETIF_EXTRA_TYPE_HASH" => netif::XEN_NETIF_EXTRA_TYPE_HASH,
        "XEN_NETIF_EXTRA_TYPE_MAX" => netif::XEN_NETIF_EXTRA_TYPE_MAX,
        "XEN_NETIF_EXTRA_FLAG_MORE" => netif::XEN_NETIF_EXTRA_FLAG_MORE,
        "XEN_NETIF_GSO_TYPE_TCPV4" => netif::XEN_NETIF_GSO_TYPE_TCPV4,
        "XEN_NETIF_GSO_TYPE_TCPV6" => netif::XEN_NETIF_GSO_TYPE_TCPV6,
        "NETIF_RSP_DROPPED" => netif::NETIF_RSP_DROPPED,
        "NETIF_RSP_ERROR" => netif::NETIF_RSP_ERROR,
        "NETIF_RSP_OKAY" => netif::NETIF_RSP_OKAY,
        "NETIF_RSP_NULL" => netif::NETIF_RSP_NULL,
        "offsetof(struct netif_tx_sring, req_prod)" => ring::REQ_PROD,
        "offsetof(struct netif_tx_sring, req_event)" => ring::REQ_EVENT,
        "offsetof(struct netif_tx_sring, rsp_prod)" => ring::RSP_PROD,
        "offsetof(struct netif_tx_sring, rsp_event)" => ring::RSP_EVENT,
        "offsetof(struct netif_tx_sring, ring)" => ring::RING,
        "__CONST_RING_SIZE(netif_tx, 4096)" => ring::entries(12),
        "__CONST_RING_SIZE(netif_rx, 4096)" => ring::entries(8),
        "XenbusStateUnknown" => XenbusState::UNKNOWN.0,
        "XenbusStateInitialising" => XenbusState::INITIALISING.0,
        "XenbusStateInitWait" => XenbusState::INIT_WAIT.0,
        "XenbusStateInitialised" => XenbusState::INITIALISED.0,
        "XenbusStateConnected" => XenbusState::CONNECTED.0,
        "XenbusStateClosing" => XenbusState::CLOSING.0,
        "XenbusStateClosed" => XenbusState::CLOSED.0,
        "XenbusStateReconfiguring" => XenbusState::RECONFIGURING.0,
        "XenbusStateReconfigured" => XenbusState::RECONFIGURED.0,
    }
}

fn disks(table: &mut Table) {
    structs! { table;
        "struct blkif_request_segment" => blkif::Segment {
            "gref" => gref, "first_sect" => first_sect, "last_sect" => last_sect,
        }
        "struct blkif_request" => blkif::Request {
            "operation" => operation, "nr_segments" => nr_segments, "handle" => handle, "id" => id,
            "sector_number" => sector_number, "seg" => seg,
        }
        "struct blkif_request_discard" => blkif::RequestDiscard {
            "operation" => operation, "flag" => flag, "handle" => handle, "id" => id,
            "sector_number" => sector_number, "nr_sectors" => nr_sectors,
        }
        "struct blkif_request_indirect" => blkif::RequestIndirect {
            "operation" => operation, "indirect_op" => indirect_op, "nr_segments" => nr_segments,
            "id" => id, "sector_number" => sector_number, "handle" => handle,
            "indirect_grefs" => indirect_grefs,
        }
        "struct blkif_response" => blkif::Response {
            "id" => id, "operation" => operation, "status" => status,
        }
    }
    constants! { table;
        "BLKIF_OP_READ" => blkif::BLKIF_OP_READ,
        "BLKIF_OP_WRITE" => blkif::BLKIF_OP_WRITE,
        "BLKIF_OP_WRITE_BARRIER" => blkif::BLKIF_OP_WRITE_BARRIER,
        "BLKIF_OP_FLUSH_DISKCACHE" => blkif::BLKIF_OP_FLUSH_DISKCACHE,
        "BLKIF_OP_DISCARD" => blkif::BLKIF_OP_DISCARD,
        "BLKIF_OP_INDIRECT" => blkif::BLKIF_OP_INDIRECT,
        "BLKIF_MAX_SEGMENTS_PER_REQUEST" => blkif::BLKIF_MAX_SEGMENTS_PER_REQUEST,
        "BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST" => blkif::BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST,
        "BLKIF_RSP_OKAY" => blkif::BLKIF_RSP_OKAY,
        "BLKIF_RSP_ERROR" => blkif::BLKIF_RSP_ERROR,
        "BLKIF_RSP_EOPNOTSUPP" => blkif::BLKIF_RSP_EOPNOTSUPP,
        "VDISK_CDROM" => blkif::VDISK_CDROM,
        "VDISK_REMOVABLE" => blkif::VDISK_REMOVABLE,
        "VDISK_READONLY" => blkif::VDISK_READONLY,
        "__CONST_RING_SIZE(blkif, 4096)" => ring::entries(112),
        "__CONST_RING_SIZE(blkif, 8192)" => ring::entries_of_pages(112, 2),
        "__CONST_RING_SIZE(blkif, 16384)" => ring::entries_of_pages(112, 4),
        "strcmp(XEN_IO_PROTO_ABI_X86_64, \"x86_64-abi\")" => 0,
    }
    assert_eq!(blkif::XEN_IO_PROTO_ABI_X86_64, "x86_64-abi");
}

fn cards(table: &mut Table) {
    structs! { table;
        "struct xen_msix_entry" => pciif::MsixEntry { "vector" => vector, "entry" => entry }
        "struct xen_pcie_aer_op" => pciif::AerOp {
            "cmd" => cmd, "err" => err, "domain" => domain, "bus" => bus, "devfn" => devfn,
        }
        "struct physdev_eoi" => physdev::Eoi { "irq" => irq }
    }
    // The entries behind it are no part of ours.
    table.constant(
        "offsetof(struct xen_pci_op, msix_entries)",
        size_of::<pciif::Op>(),
    );
    table.field("struct xen_pci_op", "cmd", offset_of!(pciif::Op, cmd));
    table.field("struct xen_pci_op", "err", offset_of!(pciif::Op, err));
    table.field("struct xen_pci_op", "domain", offset_of!(pciif::Op, domain));
    table.field("struct xen_pci_op", "bus", offset_of!(pciif::Op, bus));
    table.field("struct xen_pci_op", "devfn", offset_of!(pciif::Op, devfn));
    table.field("struct xen_pci_op", "offset", offset_of!(pciif::Op, offset));
    table.field("struct xen_pci_op", "size", offset_of!(pciif::Op, size));
    table.field("struct xen_pci_op", "value", offset_of!(pciif::Op, value));
    table.field("struct xen_pci_op", "info", offset_of!(pciif::Op, info));
    constants! { table;
        "atoi(XEN_PCI_MAGIC)" => pciif::XEN_PCI_MAGIC.parse::<i64>().expect("a number"),
        "XEN_PCIF_active" => pciif::XEN_PCIF_ACTIVE,
        "XEN_PCIB_AERHANDLER" => pciif::XEN_PCIB_AERHANDLER,
        "XEN_PCIB_active" => pciif::XEN_PCIB_ACTIVE,
        "XEN_PCI_OP_conf_read" => pciif::XEN_PCI_OP_CONF_READ,
        "XEN_PCI_OP_conf_write" => pciif::XEN_PCI_OP_CONF_WRITE,
        "XEN_PCI_OP_enable_msi" => pciif::XEN_PCI_OP_ENABLE_MSI,
        "XEN_PCI_OP_disable_msi" => pciif::XEN_PCI_OP_DISABLE_MSI,
        "XEN_PCI_OP_enable_msix" => pciif::XEN_PCI_OP_ENABLE_MSIX,
        "XEN_PCI_OP_disable_msix" => pciif::XEN_PCI_OP_DISABLE_MSIX,
        "XEN_PCI_OP_aer_detected" => pciif::XEN_PCI_OP_AER_DETECTED,
        "XEN_PCI_OP_aer_resume" => pciif::XEN_PCI_OP_AER_RESUME,
        "XEN_PCI_OP_aer_mmio" => pciif::XEN_PCI_OP_AER_MMIO,
        "XEN_PCI_OP_aer_slotreset" => pciif::XEN_PCI_OP_AER_SLOTRESET,
        "XEN_PCI_ERR_success" => pciif::XEN_PCI_ERR_SUCCESS,
        "XEN_PCI_ERR_dev_not_found" => pciif::XEN_PCI_ERR_DEV_NOT_FOUND,
        "XEN_PCI_ERR_invalid_offset" => pciif::XEN_PCI_ERR_INVALID_OFFSET,
        "XEN_PCI_ERR_access_denied" => pciif::XEN_PCI_ERR_ACCESS_DENIED,
        "XEN_PCI_ERR_not_implemented" => pciif::XEN_PCI_ERR_NOT_IMPLEMENTED,
        "XEN_PCI_ERR_op_failed" => pciif::XEN_PCI_ERR_OP_FAILED,
        "SH_INFO_MAX_VEC" => pciif::SH_INFO_MAX_VEC,
        "offsetof(struct xen_pci_sharedinfo, flags)" => pciif::FLAGS,
        "offsetof(struct xen_pci_sharedinfo, op)" => pciif::OP,
        "offsetof(struct xen_pci_sharedinfo, op.msix_entries)" => pciif::MSIX_ENTRIES,
        "offsetof(struct xen_pci_sharedinfo, aer_op)" => pciif::AER_OP,
        "PHYSDEVOP_eoi" => physdev::PHYSDEVOP_EOI,
        "DOMID_IO" => xen::DOMID_IO,
        "__HYPERVISOR_physdev_op" => xen::nr::PHYSDEV_OP,
    }
}

fn xenstore_and_console(table: &mut Table) {
    structs! { table;
        "struct xsd_sockmsg" => xs_wire::Header {
            "type" => kind, "req_id" => req_id, "tx_id" => tx_id, "len" => len,
        }
        "struct xenstore_domain_interface" => xs_wire::DomainInterface {
            "req" => req, "rsp" => rsp, "req_cons" => req_cons, "req_prod" => req_prod,
            "rsp_cons" => rsp_cons, "rsp_prod" => rsp_prod, "server_features" => server_features,
            "connection" => connection, "error" => error,
        }
        "struct xencons_interface" => console::ConsoleInterface {
            "in" => input, "out" => output, "in_cons" => in_cons, "in_prod" => in_prod,
            "out_cons" => out_cons, "out_prod" => out_prod,
        }
        "struct vchan_interface" => libxenvchan::VchanInterface {
            "left" => left, "right" => right, "right.cons" => right.cons, "right.prod" => right.prod,
            "left_order" => left_order, "right_order" => right_order, "cli_live" => cli_live,
            "srv_live" => srv_live, "cli_notify" => cli_notify, "srv_notify" => srv_notify,
        }
    }
    constants! { table;
        "VCHAN_NOTIFY_WRITE" => libxenvchan::VCHAN_NOTIFY_WRITE,
        "VCHAN_NOTIFY_READ" => libxenvchan::VCHAN_NOTIFY_READ,
        "XS_DIRECTORY" => xs_wire::XS_DIRECTORY,
        "XS_READ" => xs_wire::XS_READ,
        "XS_GET_PERMS" => xs_wire::XS_GET_PERMS,
        "XS_WATCH" => xs_wire::XS_WATCH,
        "XS_UNWATCH" => xs_wire::XS_UNWATCH,
        "XS_TRANSACTION_START" => xs_wire::XS_TRANSACTION_START,
        "XS_TRANSACTION_END" => xs_wire::XS_TRANSACTION_END,
        "XS_GET_DOMAIN_PATH" => xs_wire::XS_GET_DOMAIN_PATH,
        "XS_WRITE" => xs_wire::XS_WRITE,
        "XS_MKDIR" => xs_wire::XS_MKDIR,
        "XS_RM" => xs_wire::XS_RM,
        "XS_SET_PERMS" => xs_wire::XS_SET_PERMS,
        "XS_WATCH_EVENT" => xs_wire::XS_WATCH_EVENT,
        "XS_ERROR" => xs_wire::XS_ERROR,
        "XS_RESET_WATCHES" => xs_wire::XS_RESET_WATCHES,
        "XS_DIRECTORY_PART" => xs_wire::XS_DIRECTORY_PART,
        "XENSTORE_PAYLOAD_MAX" => xs_wire::XENSTORE_PAYLOAD_MAX,
        "XENSTORE_ABS_PATH_MAX" => xs_wire::XENSTORE_ABS_PATH_MAX,
        "XENSTORE_REL_PATH_MAX" => xs_wire::XENSTORE_REL_PATH_MAX,
        "XENSTORE_RING_SIZE" => xs_wire::XENSTORE_RING_SIZE,
    }
}

fn events_and_grants(table: &mut Table) {
    structs! { table;
        "struct evtchn_alloc_unbound" => event_channel::AllocUnbound {
            "dom" => dom, "remote_dom" => remote_dom, "port" => port,
        }
        "struct evtchn_bind_interdomain" => event_channel::BindInterdomain {
            "remote_dom" => remote_dom, "remote_port" => remote_port, "local_port" => local_port,
        }
        "struct evtchn_bind_virq" => event_channel::BindVirq { "virq" => virq, "vcpu" => vcpu, "port" => port }
        "struct evtchn_bind_pirq" => event_channel::BindPirq { "pirq" => pirq, "flags" => flags, "port" => port }
        "struct evtchn_close" => event_channel::PortArgument { "port" => port }
        "struct evtchn_send" => event_channel::PortArgument { "port" => port }
        "struct evtchn_unmask" => event_channel::PortArgument { "port" => port }
        "struct evtchn_status" => event_channel::Status {
            "dom" => dom, "port" => port, "status" => status, "vcpu" => vcpu,
            "u.interdomain.dom" => remote_dom, "u.interdomain.port" => remote_port,
        }
        "struct grant_entry_v1" => grant_table::GrantEntryV1 {
            "flags" => flags, "domid" => domid, "frame" => frame,
        }
        "struct gnttab_map_grant_ref" => grant_table::MapGrantRef {
            "host_addr" => host_addr, "flags" => flags, "ref" => reference, "dom" => dom, "status" => status,
            "handle" => handle, "dev_bus_addr" => dev_bus_addr,
        }
        "struct gnttab_unmap_grant_ref" => grant_table::UnmapGrantRef {
            "host_addr" => host_addr, "dev_bus_addr" => dev_bus_addr, "handle" => handle, "status" => status,
        }
        "struct gnttab_setup_table" => grant_table::SetupTable {
            "dom" => dom, "nr_frames" => nr_frames, "status" => status, "frame_list" => frame_list,
        }
        "struct gnttab_copy" => grant_table::Copy {
            "source.u.ref" => source.reference_or_frame, "source.domid" => source.domid,
            "source.offset" => source.offset, "dest.u.gmfn" => dest.reference_or_frame, "dest.domid" => dest.domid,
            "dest.offset" => dest.offset, "len" => len, "flags" => flags, "status" => status,
        }
        "struct gnttab_query_size" => grant_table::QuerySize {
            "dom" => dom, "nr_frames" => nr_frames, "max_nr_frames" => max_nr_frames, "status" => status,
        }
    }
    constants! { table;
        "EVTCHNOP_bind_interdomain" => event_channel::EVTCHNOP_BIND_INTERDOMAIN,
        "EVTCHNOP_bind_virq" => event_channel::EVTCHNOP_BIND_VIRQ,
        "EVTCHNOP_bind_pirq" => event_channel::EVTCHNOP_BIND_PIRQ,
        "EVTCHNOP_close" => event_channel::EVTCHNOP_CLOSE,
        "EVTCHNOP_send" => event_channel::EVTCHNOP_SEND,
        "EVTCHNOP_status" => event_channel::EVTCHNOP_STATUS,
        "EVTCHNOP_alloc_unbound" => event_channel::EVTCHNOP_ALLOC_UNBOUND,
        "EVTCHNOP_bind_ipi" => event_channel::EVTCHNOP_BIND_IPI,
        "EVTCHNOP_bind_vcpu" => event_channel::EVTCHNOP_BIND_VCPU,
        "EVTCHNOP_unmask" => event_channel::EVTCHNOP_UNMASK,
        "EVTCHNOP_reset" => event_channel::EVTCHNOP_RESET,
        "EVTCHN_2L_NR_CHANNELS" => event_channel::EVTCHN_2L_NR_CHANNELS,
        "EVTCHNSTAT_closed" => event_channel::EVTCHNSTAT_CLOSED,
        "EVTCHNSTAT_unbound" => event_channel::EVTCHNSTAT_UNBOUND,
        "EVTCHNSTAT_interdomain" => event_channel::EVTCHNSTAT_INTERDOMAIN,
        "EVTCHNSTAT_pirq" => event_channel::EVTCHNSTAT_PIRQ,
        "EVTCHNSTAT_virq" => event_channel::EVTCHNSTAT_VIRQ,
        "EVTCHNSTAT_ipi" => event_channel::EVTCHNSTAT_IPI,
        "BIND_PIRQ__WILL_SHARE" => event_channel::BIND_PIRQ_WILL_SHARE,
        "GNTTAB_NR_RESERVED_ENTRIES" => grant_table::GNTTAB_NR_RESERVED_ENTRIES,
        "GNTTAB_RESERVED_CONSOLE" => grant_table::GNTTAB_RESERVED_CONSOLE,
        "GNTTAB_RESERVED_XENSTORE" => grant_table::GNTTAB_RESERVED_XENSTORE,
        "GTF_invalid" => grant_table::GTF_INVALID,
        "GTF_permit_access" => grant_table::GTF_PERMIT_ACCESS,
        "GTF_type_mask" => grant_table::GTF_TYPE_MASK,
        "GTF_readonly" => grant_table::GTF_READONLY,
        "GTF_reading" => grant_table::GTF_READING,
        "GTF_writing" => grant_table::GTF_WRITING,
        "GNTTABOP_map_grant_ref" => grant_table::GNTTABOP_MAP_GRANT_REF,
        "GNTTABOP_unmap_grant_ref" => grant_table::GNTTABOP_UNMAP_GRANT_REF,
        "GNTTABOP_setup_table" => grant_table::GNTTABOP_SETUP_TABLE,
        "GNTTABOP_copy" => grant_table::GNTTABOP_COPY,
        "GNTTABOP_query_size" => grant_table::GNTTABOP_QUERY_SIZE,
        "GNTTABOP_set_version" => grant_table::GNTTABOP_SET_VERSION,
        "GNTTABOP_get_version" => grant_table::GNTTABOP_GET_VERSION,
        "GNTMAP_host_map" => grant_table::GNTMAP_HOST_MAP,
        "GNTMAP_readonly" => grant_table::GNTMAP_READONLY,
        "GNTMAP_contains_pte" => grant_table::GNTMAP_CONTAINS_PTE,
        "GNTCOPY_source_gref" => grant_table::GNTCOPY_SOURCE_GREF,
        "GNTCOPY_dest_gref" => grant_table::GNTCOPY_DEST_GREF,
        "GNTST_okay" => grant_table::GNTST_OKAY,
        "GNTST_general_error" => grant_table::GNTST_GENERAL_ERROR,
        "GNTST_bad_domain" => grant_table::GNTST_BAD_DOMAIN,
        "GNTST_bad_gntref" => grant_table::GNTST_BAD_GNTREF,
        "GNTST_bad_handle" => grant_table::GNTST_BAD_HANDLE,
        "GNTST_bad_virt_addr" => grant_table::GNTST_BAD_VIRT_ADDR,
        "GNTST_permission_denied" => grant_table::GNTST_PERMISSION_DENIED,
        "GNTST_bad_page" => grant_table::GNTST_BAD_PAGE,
        "GNTST_bad_copy_arg" => grant_table::GNTST_BAD_COPY_ARG,
        "GNTST_eagain" => grant_table::GNTST_EAGAIN,
    }
}

fn errors(table: &mut Table) {
    let numbers = [
        ("EPERM", errno::EPERM),
        ("ENOENT", errno::ENOENT),
        ("ESRCH", errno::ESRCH),
        ("EIO", errno::EIO),
        ("ENXIO", errno::ENXIO),
        ("E2BIG", errno::E2BIG),
        ("EBADF", errno::EBADF),
        ("EAGAIN", errno::EAGAIN),
        ("ENOMEM", errno::ENOMEM),
        ("EACCES", errno::EACCES),
        ("EFAULT", errno::EFAULT),
        ("EBUSY", errno::EBUSY),
        ("EEXIST", errno::EEXIST),
        ("ENODEV", errno::ENODEV),
        ("EISDIR", errno::EISDIR),
        ("EINVAL", errno::EINVAL),
        ("ENOSPC", errno::ENOSPC),
        ("EROFS", errno::EROFS),
        ("ERANGE", errno::ERANGE),
        ("ENOSYS", errno::ENOSYS),
        ("ENOTEMPTY", errno::ENOTEMPTY),
        ("ENODATA", errno::ENODATA),
        ("EOVERFLOW", errno::EOVERFLOW),
        ("EOPNOTSUPP", errno::EOPNOTSUPP),
        ("EISCONN", errno::EISCONN),
        ("ENOTCONN", errno::ENOTCONN),
        ("ETIMEDOUT", errno::ETIMEDOUT),
    ];
    for (name, number) in numbers {
        table.constant(&format!("XEN_{name}"), number.0);
    }
}

fn start_of_day(table: &mut Table) {
    structs! { table;
        "struct start_info" => xen::StartInfo {
            "magic" => magic, "nr_pages" => nr_pages, "shared_info" => shared_info, "flags" => flags,
            "store_mfn" => store_mfn, "store_evtchn" => store_evtchn, "console.domU.mfn" => console_mfn,
            "console.domU.evtchn" => console_evtchn, "pt_base" => pt_base, "nr_pt_frames" => nr_pt_frames,
            "mfn_list" => mfn_list, "mod_start" => mod_start, "mod_len" => mod_len, "cmd_line" => cmd_line,
            "first_p2m_pfn" => first_p2m_pfn, "nr_p2m_frames" => nr_p2m_frames,
        }
        "struct shared_info" => xen::SharedInfo {
            "vcpu_info" => vcpu_info, "evtchn_pending" => evtchn_pending, "evtchn_mask" => evtchn_mask,
            "wc_version" => wc_version, "wc_sec" => wc_sec, "wc_nsec" => wc_nsec, "wc_sec_hi" => wc_sec_hi,
            "arch.max_pfn" => max_pfn, "arch.pfn_to_mfn_frame_list_list" => pfn_to_mfn_frame_list_list,
            "arch.nmi_reason" => nmi_reason, "arch.p2m_cr3" => p2m_cr3, "arch.p2m_vaddr" => p2m_vaddr,
            "arch.p2m_generation" => p2m_generation,
        }
        "struct vcpu_info" => xen::VcpuInfo {
            "evtchn_upcall_pending" => evtchn_upcall_pending, "evtchn_upcall_mask" => evtchn_upcall_mask,
            "evtchn_pending_sel" => evtchn_pending_sel, "arch.cr2" => cr2, "time" => time,
        }
        "struct vcpu_time_info" => xen::VcpuTimeInfo {
            "version" => version, "tsc_timestamp" => tsc_timestamp, "system_time" => system_time,
            "tsc_to_system_mul" => tsc_to_system_mul, "tsc_shift" => tsc_shift, "flags" => flags,
        }
        "struct trap_info" => xen::TrapInfo {
            "vector" => vector, "flags" => flags, "cs" => cs, "address" => address,
        }
        "struct mmu_update" => xen::MmuUpdate { "ptr" => ptr, "val" => val }
    }
    constants! { table;
        "SIF_MOD_START_PFN" => xen::SIF_MOD_START_PFN,
        "DOMID_SELF" => xen::DOMID_SELF,
        "FLAT_KERNEL_CS" => xen::FLAT_KERNEL_CS,
        "MACH2PHYS_VIRT_START" => xen::MACH2PHYS_VIRT_START as i64,
        "XEN_ELFNOTE_ENTRY" => elfnote::ENTRY,
        "XEN_ELFNOTE_HYPERCALL_PAGE" => elfnote::HYPERCALL_PAGE,
        "XEN_ELFNOTE_VIRT_BASE" => elfnote::VIRT_BASE,
        "XEN_ELFNOTE_PADDR_OFFSET" => elfnote::PADDR_OFFSET,
        "XEN_ELFNOTE_XEN_VERSION" => elfnote::XEN_VERSION,
        "XEN_ELFNOTE_GUEST_OS" => elfnote::GUEST_OS,
        "XEN_ELFNOTE_GUEST_VERSION" => elfnote::GUEST_VERSION,
        "XEN_ELFNOTE_LOADER" => elfnote::LOADER,
    }
}

fn hypercalls(table: &mut Table) {
    structs! { table;
        "struct sched_shutdown" => sched::Shutdown { "reason" => reason }
        "struct callback_register" => callback::CallbackRegister { "type" => kind, "address" => address }
        "struct sched_poll" => sched::Poll { "ports" => ports, "nr_ports" => nr_ports, "timeout" => timeout }
    }
    constants! { table;
        "__HYPERVISOR_set_trap_table" => xen::nr::SET_TRAP_TABLE,
        "__HYPERVISOR_mmu_update" => xen::nr::MMU_UPDATE,
        "__HYPERVISOR_memory_op" => xen::nr::MEMORY_OP,
        "__HYPERVISOR_update_va_mapping" => xen::nr::UPDATE_VA_MAPPING,
        "__HYPERVISOR_xen_version" => xen::nr::XEN_VERSION,
        "__HYPERVISOR_console_io" => xen::nr::CONSOLE_IO,
        "__HYPERVISOR_grant_table_op" => xen::nr::GRANT_TABLE_OP,
        "__HYPERVISOR_vcpu_op" => xen::nr::VCPU_OP,
        "__HYPERVISOR_mmuext_op" => xen::nr::MMUEXT_OP,
        "__HYPERVISOR_sched_op" => xen::nr::SCHED_OP,
        "__HYPERVISOR_event_channel_op" => xen::nr::EVENT_CHANNEL_OP,
        "XENVER_version" => xen::XENVER_VERSION,
        "CONSOLEIO_write" => xen::CONSOLEIO_WRITE,
        "MMU_NORMAL_PT_UPDATE" => xen::MMU_NORMAL_PT_UPDATE,
        "UVMF_INVLPG" => xen::UVMF_INVLPG,
        "SCHEDOP_shutdown" => sched::SCHEDOP_SHUTDOWN,
        "SCHEDOP_block" => sched::SCHEDOP_BLOCK,
        "SCHEDOP_poll" => sched::SCHEDOP_POLL,
        "SHUTDOWN_poweroff" => sched::ShutdownReason::Poweroff as u32,
        "SHUTDOWN_reboot" => sched::ShutdownReason::Reboot as u32,
        "SHUTDOWN_suspend" => sched::ShutdownReason::Suspend as u32,
        "SHUTDOWN_crash" => sched::ShutdownReason::Crash as u32,
        "XENMEM_maximum_reservation" => memory::XENMEM_MAXIMUM_RESERVATION,
        "CALLBACKOP_register" => callback::CALLBACKOP_REGISTER,
        "CALLBACKTYPE_event" => callback::CALLBACKTYPE_EVENT,
        "VIRQ_TIMER" => xen::VIRQ_TIMER,
        "__HYPERVISOR_set_timer_op" => xen::nr::SET_TIMER_OP,
        "__HYPERVISOR_callback_op" => xen::nr::CALLBACK_OP,
        "VCPUOP_stop_periodic_timer" => vcpu::VCPUOP_STOP_PERIODIC_TIMER,
    }
}

/// What 64 bits at `offset` of a struct are, whose bytes are all 0 but for a field that has all its bits set.
fn bits(name: &str, field: &str, offset: usize) -> String {
    format!(
        "({{ struct {name} value; memset(&value, 0, sizeof value); value.{field} = -1; \
         uint64_t bits = 0; memcpy(&bits, (char *)&value + {offset}, sizeof value - {offset} < 8 ? sizeof value - {offset} : 8); bits; }})"
    )
}

fn requests(table: &mut Table) {
    structs! { table;
        "struct ioreq" => ioreq::Ioreq {
            "addr" => addr, "data" => data, "count" => count, "size" => size, "vp_eport" => vp_eport,
            "_pad0" => pad, "type" => kind,
        }
        "struct buf_ioreq" => ioreq::BufIoreq { "data" => data }
    }
    let flags = offset_of!(ioreq::Ioreq, flags);
    for (field, ours) in [
        ("state", ioreq::FLAGS_STATE),
        ("data_is_ptr", ioreq::FLAGS_DATA_IS_PTR),
        ("dir", ioreq::FLAGS_DIR),
        ("df", ioreq::FLAGS_DF),
    ] {
        table.constant(&bits("ioreq", field, flags), ours);
    }
    for (field, ours) in [
        ("type", ioreq::HEAD_TYPE),
        ("dir", ioreq::HEAD_DIR),
        ("size", 3 << ioreq::HEAD_SIZE_SHIFT),
        ("addr", 0xf_ffff << ioreq::HEAD_ADDR_SHIFT),
    ] {
        table.constant(&bits("buf_ioreq", field, 0), ours);
    }
    constants! { table;
        "IOREQ_READ" => ioreq::IOREQ_READ,
        "IOREQ_WRITE" => ioreq::IOREQ_WRITE,
        "STATE_IOREQ_NONE" => ioreq::STATE_IOREQ_NONE,
        "STATE_IOREQ_READY" => ioreq::STATE_IOREQ_READY,
        "STATE_IOREQ_INPROCESS" => ioreq::STATE_IOREQ_INPROCESS,
        "STATE_IORESP_READY" => ioreq::STATE_IORESP_READY,
        "IOREQ_TYPE_PIO" => ioreq::IOREQ_TYPE_PIO,
        "IOREQ_TYPE_COPY" => ioreq::IOREQ_TYPE_COPY,
        "IOREQ_TYPE_PCI_CONFIG" => ioreq::IOREQ_TYPE_PCI_CONFIG,
        "IOREQ_TYPE_TIMEOFFSET" => ioreq::IOREQ_TYPE_TIMEOFFSET,
        "IOREQ_TYPE_INVALIDATE" => ioreq::IOREQ_TYPE_INVALIDATE,
        "IOREQ_BUFFER_SLOT_NUM" => ioreq::IOREQ_BUFFER_SLOT_NUM,
        "offsetof(struct buffered_iopage, read_pointer)" => ioreq::READ_POINTER,
        "offsetof(struct buffered_iopage, write_pointer)" => ioreq::WRITE_POINTER,
        "offsetof(struct buffered_iopage, buf_ioreq)" => ioreq::BUF_IOREQ,
    }
}

fn device_model(table: &mut Table) {
    structs! { table;
        "struct xen_dm_op" => dm_op::DmOp { "op" => op, "pad" => pad, "u" => u }
        "struct xen_dm_op_buf" => dm_op::DmOpBuf { "h" => h, "size" => size }
        "struct xen_dm_op_create_ioreq_server" => dm_op::CreateIoreqServer {
            "handle_bufioreq" => handle_bufioreq, "pad" => pad, "id" => id,
        }
        "struct xen_dm_op_get_ioreq_server_info" => dm_op::GetIoreqServerInfo {
            "id" => id, "flags" => flags, "bufioreq_port" => bufioreq_port, "ioreq_gfn" => ioreq_gfn,
            "bufioreq_gfn" => bufioreq_gfn,
        }
        "struct xen_dm_op_ioreq_server_range" => dm_op::IoreqServerRange {
            "id" => id, "pad" => pad, "type" => kind, "start" => start, "end" => end,
        }
        "struct xen_dm_op_set_ioreq_server_state" => dm_op::SetIoreqServerState {
            "id" => id, "enabled" => enabled, "pad" => pad,
        }
        "struct xen_dm_op_destroy_ioreq_server" => dm_op::DestroyIoreqServer { "id" => id, "pad" => pad }
        "struct xen_dm_op_set_pci_intx_level" => dm_op::SetPciIntxLevel {
            "domain" => domain, "bus" => bus, "device" => device, "intx" => intx, "level" => level,
        }
        "struct xen_dm_op_set_isa_irq_level" => dm_op::SetIsaIrqLevel { "isa_irq" => isa_irq, "level" => level }
        "struct xen_dm_op_set_pci_link_route" => dm_op::SetPciLinkRoute { "link" => link, "isa_irq" => isa_irq }
        "struct xen_dm_op_modified_memory" => dm_op::ModifiedMemory {
            "nr_extents" => nr_extents, "opaque" => opaque,
        }
        "struct xen_dm_op_modified_memory_extent" => dm_op::ModifiedMemoryExtent {
            "nr" => nr, "pad" => pad, "first_pfn" => first_pfn,
        }
        "struct xen_dm_op_inject_msi" => dm_op::InjectMsi { "data" => data, "pad" => pad, "addr" => addr }
        "struct xen_dm_op_remote_shutdown" => dm_op::RemoteShutdown { "reason" => reason }
        "struct xen_dm_op_nr_vcpus" => dm_op::NrVcpus { "vcpus" => vcpus }
        "struct xen_hvm_param" => hvm_op::Param { "domid" => domid, "index" => index, "value" => value }
        "struct xen_mem_acquire_resource" => memory::AcquireResource {
            "domid" => domid, "type" => kind, "id" => id, "nr_frames" => nr_frames, "pad" => pad,
            "frame" => frame, "frame_list" => frame_list,
        }
        "struct mmuext_op" => xen::MmuextOp { "cmd" => cmd, "arg1" => arg1, "arg2" => arg2 }
    }
    constants! { table;
        "XEN_DMOP_create_ioreq_server" => dm_op::XEN_DMOP_CREATE_IOREQ_SERVER,
        "XEN_DMOP_get_ioreq_server_info" => dm_op::XEN_DMOP_GET_IOREQ_SERVER_INFO,
        "XEN_DMOP_map_io_range_to_ioreq_server" => dm_op::XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER,
        "XEN_DMOP_unmap_io_range_from_ioreq_server" => dm_op::XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER,
        "XEN_DMOP_set_ioreq_server_state" => dm_op::XEN_DMOP_SET_IOREQ_SERVER_STATE,
        "XEN_DMOP_destroy_ioreq_server" => dm_op::XEN_DMOP_DESTROY_IOREQ_SERVER,
        "XEN_DMOP_track_dirty_vram" => dm_op::XEN_DMOP_TRACK_DIRTY_VRAM,
        "XEN_DMOP_set_pci_intx_level" => dm_op::XEN_DMOP_SET_PCI_INTX_LEVEL,
        "XEN_DMOP_set_isa_irq_level" => dm_op::XEN_DMOP_SET_ISA_IRQ_LEVEL,
        "XEN_DMOP_set_pci_link_route" => dm_op::XEN_DMOP_SET_PCI_LINK_ROUTE,
        "XEN_DMOP_modified_memory" => dm_op::XEN_DMOP_MODIFIED_MEMORY,
        "XEN_DMOP_inject_msi" => dm_op::XEN_DMOP_INJECT_MSI,
        "XEN_DMOP_remote_shutdown" => dm_op::XEN_DMOP_REMOTE_SHUTDOWN,
        "XEN_DMOP_nr_vcpus" => dm_op::XEN_DMOP_NR_VCPUS,
        "XEN_DMOP_no_gfns" => dm_op::XEN_DMOP_NO_GFNS,
        "XEN_DMOP_IO_RANGE_PORT" => dm_op::XEN_DMOP_IO_RANGE_PORT,
        "XEN_DMOP_IO_RANGE_MEMORY" => dm_op::XEN_DMOP_IO_RANGE_MEMORY,
        "XEN_DMOP_IO_RANGE_PCI" => dm_op::XEN_DMOP_IO_RANGE_PCI,
        "HVMOP_set_param" => hvm_op::HVMOP_SET_PARAM as i64,
        "HVMOP_get_param" => hvm_op::HVMOP_GET_PARAM as i64,
        "HVM_IOREQSRV_BUFIOREQ_OFF" => hvm_op::HVM_IOREQSRV_BUFIOREQ_OFF,
        "HVM_IOREQSRV_BUFIOREQ_LEGACY" => hvm_op::HVM_IOREQSRV_BUFIOREQ_LEGACY,
        "HVM_IOREQSRV_BUFIOREQ_ATOMIC" => hvm_op::HVM_IOREQSRV_BUFIOREQ_ATOMIC,
        "HVM_PARAM_CALLBACK_IRQ" => params::HVM_PARAM_CALLBACK_IRQ,
        "HVM_PARAM_ACPI_S_STATE" => params::HVM_PARAM_ACPI_S_STATE,
        "HVM_PARAM_ACPI_IOPORTS_LOCATION" => params::HVM_PARAM_ACPI_IOPORTS_LOCATION,
        "XENMEM_acquire_resource" => memory::XENMEM_ACQUIRE_RESOURCE,
        "XENMEM_resource_ioreq_server" => memory::XENMEM_RESOURCE_IOREQ_SERVER,
        "XENMEM_resource_ioreq_server_frame_bufioreq" => memory::XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ,
        "XENMEM_resource_ioreq_server_frame_ioreq(0)" => memory::XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ,
        "MMU_PT_UPDATE_NO_TRANSLATE" => xen::MMU_PT_UPDATE_NO_TRANSLATE,
        "MMUEXT_TLB_FLUSH_LOCAL" => xen::MMUEXT_TLB_FLUSH_LOCAL,
        "__HYPERVISOR_hvm_op" => xen::nr::HVM_OP,
        "__HYPERVISOR_dm_op" => xen::nr::DM_OP,
    }
}
