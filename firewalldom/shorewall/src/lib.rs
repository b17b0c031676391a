//! firewalldom/shorewall
