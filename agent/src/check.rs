//! Tells why the controller can't be reached: UDP, MTU, DNS, clock and trust apart.
