//! The watchdog: several pgconvoys that watch one another, and the address that follows the leader.

use super::super::words::LifecheckMethod;
use super::*;

settings! {
    /// The cluster of watchdog nodes.
    pub struct Watchdog {
        use_watchdog: bool = BOOL, "off", Init, "3.2.0", Later, "Takes part in a watchdog cluster.";
        trusted_servers: String = TEXT, "", Init, "3.2.0", Later, "Hosts whose answer to a ping shows that the network works.";
        trusted_server_command: String = TEXT, "ping -q -c3 %h", Reload, "4.4.0", Later, "The command that pings one of them.";
        wd_listen_address: String = TEXT, "", Init, "4.7.2", Later, "The address on which other nodes are accepted.";
        wd_listen_port: u16 = PORT, "0", Init, "4.7.2", Later, "The port on which other nodes are accepted.";
        wd_priority: u32 = count(0, INT_MAX), "1", Init, "3.5.0", Later, "The priority in the election of a leader.";
        wd_authkey: String = TEXT, "", Reload, "3.3.0", Later, "The secret that the nodes share.";
        wd_ipc_socket_dir: String = TEXT, "/tmp", Init, "3.5.0", Later, "The directory of the socket for local commands.";
        wd_monitoring_interfaces_list: Vec<String> = COMMAS, "", Init, "3.5.0", Later, "The network interfaces whose link is watched.";
        wd_escalation_command: String = TEXT, "", Reload, "3.3.0", Later, "The command to run on becoming the leader.";
        wd_de_escalation_command: String = TEXT, "", Reload, "3.5.0", Later, "The command to run on ceasing to be the leader.";
        clear_memqcache_on_escalation: bool = BOOL, "on", Reload, "3.3.0", Later, "Empties the query cache on becoming the leader.";
        wd_remove_shutdown_nodes: bool = BOOL, "off", Reload, "4.3.0", Later, "Takes a node that shut down out of the count.";
        wd_lost_node_removal_timeout: Duration = SECONDS, "0", Reload, "4.3.0", Later, "After this time a lost node is taken out of the count; 0 for never.";
        wd_no_show_node_removal_timeout: Duration = SECONDS, "0", Reload, "4.4.0", Later, "After this time a node that never came is taken out of the count; 0 for never.";
    }
}

settings! {
    /// One node of the watchdog cluster.
    indexed Always pub struct WatchdogNode {
        "hostname" => hostname: String = TEXT, "localhost", Reload, "4.2.0", Later, "Its host name or address.";
        "wd_port" => wd_port: u16 = PORT, "0", Reload, "3.2.0", Later, "Its watchdog port.";
        "pgpool_port" => pgpool_port: u16 = PORT, "0", Reload, "4.2.0", Later, "Its port for clients.";
    }
}

settings! {
    /// The address that follows the leader.
    pub struct VirtualIp {
        delegate_ip: String = TEXT, "", Init, "4.4.0", Later, "The address.";
        ping_path: String = TEXT, "/bin", Init, "3.2.0", Later, "The directory of ping.";
        if_cmd_path: String = TEXT, "/sbin", Init, "3.5.0", Later, "The directory of the commands that set an address.";
        if_up_cmd: String = TEXT, "/usr/bin/sudo /sbin/ip addr add $_IP_$/24 dev eth0 label eth0:0", Init, "3.2.0", Later, "The command that sets the address.";
        if_down_cmd: String = TEXT, "/usr/bin/sudo /sbin/ip addr del $_IP_$/24 dev eth0", Init, "3.2.0", Later, "The command that removes the address.";
        arping_path: String = TEXT, "/usr/sbin", Init, "3.2.0", Later, "The directory of arping.";
        arping_cmd: String = TEXT, "/usr/bin/sudo /usr/sbin/arping -U $_IP_$ -w 1 -I eth0", Init, "3.2.0", Later, "The command that announces the address.";
    }
}

settings! {
    /// How the nodes find out that one of them is dead.
    pub struct Lifecheck {
        wd_lifecheck_method: LifecheckMethod = Kind::Word(LifecheckMethod::WORDS), "heartbeat", Init, "3.3.0", Later, "The way of checking.";
        wd_interval: Duration = SECONDS, "10", Init, "3.2.0", Later, "The time between checks.";
        wd_heartbeat_listen_addresses: String = TEXT, "", Init, "4.7.2", Later, "The addresses on which heartbeats are accepted.";
        wd_heartbeat_listen_port: u16 = count(0, 65_535), "0", Init, "4.7.2", Later, "The port on which heartbeats are accepted.";
        wd_heartbeat_keepalive: Duration = Kind::Int { min: 1, max: INT_MAX, unit: Unit::Seconds }, "2", Init, "3.3.0", Later, "The time between heartbeats.";
        wd_heartbeat_deadtime: Duration = Kind::Int { min: 1, max: INT_MAX, unit: Unit::Seconds }, "30", Init, "3.3.0", Later, "The silence after which a node is dead.";
        wd_life_point: u32 = count(0, INT_MAX), "3", Init, "3.2.0", Later, "How many failed queries make a node dead.";
        wd_lifecheck_query: String = TEXT, "SELECT 1", Init, "3.2.0", Later, "The query of a check by query.";
        wd_lifecheck_dbname: String = TEXT, "template1", Reload, "3.3.0", Later, "Its database.";
        wd_lifecheck_user: String = TEXT, "", Reload, "3.3.0", Later, "Its user.";
        wd_lifecheck_password: String = TEXT, "", Reload, "3.3.0", Later, "The password of that user; if empty, pool_passwd is asked.";
    }
}

settings! {
    /// One destination of heartbeats.
    indexed Always pub struct Heartbeat {
        "heartbeat_hostname" => hostname: String = TEXT, "", Reload, "4.2.0", Later, "Its host name or address.";
        "heartbeat_port" => port: u16 = PORT, "0", Reload, "4.2.0", Later, "Its port.";
        "heartbeat_device" => device: String = TEXT, "", Reload, "3.3.0", Later, "The network device through which it is reached.";
    }
}
