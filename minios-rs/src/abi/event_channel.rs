//! xen/event_channel.h
