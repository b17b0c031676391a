//! xen/elfnote.h: the notes of name "Xen" that tell the domain builder how to start an image.

/// `XEN_ELFNOTE_ENTRY`: virtual address of the entry point.
pub const ENTRY: u32 = 1;
/// `XEN_ELFNOTE_HYPERCALL_PAGE`: virtual address of the page Xen fills with stubs.
pub const HYPERCALL_PAGE: u32 = 2;
/// `XEN_ELFNOTE_VIRT_BASE`: virtual address that physical address 0 is mapped at.
pub const VIRT_BASE: u32 = 3;
/// `XEN_ELFNOTE_PADDR_OFFSET`
pub const PADDR_OFFSET: u32 = 4;
/// `XEN_ELFNOTE_XEN_VERSION`: "xen-3.0".
pub const XEN_VERSION: u32 = 5;
/// `XEN_ELFNOTE_GUEST_OS`
pub const GUEST_OS: u32 = 6;
/// `XEN_ELFNOTE_GUEST_VERSION`
pub const GUEST_VERSION: u32 = 7;
/// `XEN_ELFNOTE_LOADER`: "generic".
pub const LOADER: u32 = 8;
