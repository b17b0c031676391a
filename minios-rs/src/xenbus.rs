//! xenbus
