//! One netlink socket of any protocol: numbered requests, acknowledgements, dumps.
