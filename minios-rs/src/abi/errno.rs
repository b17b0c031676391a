//! xen/errno.h: what a failed hypercall returns, negated.

#![forbid(unsafe_code)]

use crate::xen::Errno;

/// `XEN_EPERM`: operation not permitted.
pub const EPERM: Errno = Errno(1);
/// `XEN_ENOENT`: no such object.
pub const ENOENT: Errno = Errno(2);
/// `XEN_ESRCH`: no such domain.
pub const ESRCH: Errno = Errno(3);
/// `XEN_EIO`: input/output error.
pub const EIO: Errno = Errno(5);
/// `XEN_ENXIO`: no such device.
pub const ENXIO: Errno = Errno(6);
/// `XEN_E2BIG`: argument list too long.
pub const E2BIG: Errno = Errno(7);
/// `XEN_EBADF`: bad handle.
pub const EBADF: Errno = Errno(9);
/// `XEN_EAGAIN`: try again.
pub const EAGAIN: Errno = Errno(11);
/// `XEN_ENOMEM`: out of memory.
pub const ENOMEM: Errno = Errno(12);
/// `XEN_EACCES`: permission denied.
pub const EACCES: Errno = Errno(13);
/// `XEN_EFAULT`: bad address.
pub const EFAULT: Errno = Errno(14);
/// `XEN_EBUSY`: in use.
pub const EBUSY: Errno = Errno(16);
/// `XEN_EEXIST`: exists already.
pub const EEXIST: Errno = Errno(17);
/// `XEN_ENODEV`: no such device.
pub const ENODEV: Errno = Errno(19);
/// `XEN_EISDIR`: is a directory.
pub const EISDIR: Errno = Errno(21);
/// `XEN_EINVAL`: invalid argument.
pub const EINVAL: Errno = Errno(22);
/// `XEN_ENOSPC`: no space left.
pub const ENOSPC: Errno = Errno(28);
/// `XEN_EROFS`: read-only.
pub const EROFS: Errno = Errno(30);
/// `XEN_ERANGE`: result out of range.
pub const ERANGE: Errno = Errno(34);
/// `XEN_ENOSYS`: not implemented.
pub const ENOSYS: Errno = Errno(38);
/// `XEN_ENOTEMPTY`: directory not empty.
pub const ENOTEMPTY: Errno = Errno(39);
/// `XEN_ENODATA`: no data available.
pub const ENODATA: Errno = Errno(61);
/// `XEN_EOVERFLOW`: value too large.
pub const EOVERFLOW: Errno = Errno(75);
/// `XEN_EOPNOTSUPP`: operation not supported.
pub const EOPNOTSUPP: Errno = Errno(95);
/// `XEN_EISCONN`: connected already.
pub const EISCONN: Errno = Errno(106);
/// `XEN_ENOTCONN`: not connected.
pub const ENOTCONN: Errno = Errno(107);
/// `XEN_ETIMEDOUT`: timed out.
pub const ETIMEDOUT: Errno = Errno(110);
