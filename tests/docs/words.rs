//! Words of HAProxy's that the page must have a row for.

/// HAProxy's `balance` keywords, those of its log mode too.
pub const BALANCE: [&str; 13] = [
    "roundrobin",
    "static-rr",
    "leastconn",
    "first",
    "random",
    "source",
    "uri",
    "url_param",
    "hdr",
    "hash",
    "rdp-cookie",
    "log-hash",
    "sticky",
];

/// Every option of a `server` or `default-server` line that HAProxy 2.6 describes (its manual, section 5.2), and
/// `server-template`; `init-state` is of a later one.
pub const SERVER: &str = "\
    addr agent-check agent-send agent-inter agent-addr agent-port allow-0rtt alpn backup ca-file check \
    check-send-proxy check-alpn check-proto check-sni check-ssl check-via-socks4 ciphers ciphersuites cookie \
    crl-file crt disabled enabled error-limit fall force-sslv3 force-tlsv10 force-tlsv11 force-tlsv12 force-tlsv13 \
    id init-addr inter fastinter downinter log-proto maxconn maxqueue max-reuse minconn namespace no-agent-check \
    no-backup no-check no-check-ssl no-send-proxy no-send-proxy-v2 no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn \
    no-ssl no-ssl-reuse no-sslv3 no-tls-tickets no-tlsv10 no-tlsv11 no-tlsv12 no-tlsv13 no-verifyhost no-tfo \
    non-stick npn observe on-error on-marked-down on-marked-up pool-low-conn pool-max-conn pool-purge-delay port \
    proto redir rise resolve-opts resolve-prefer resolve-net resolvers send-proxy send-proxy-v2 proxy-v2-options \
    send-proxy-v2-ssl send-proxy-v2-ssl-cn slowstart sni source ssl ssl-max-ver ssl-min-ver ssl-reuse stick socks4 \
    tcp-ut tfo track tls-tickets verify verifyhost weight ws server-template init-state";

/// Lines of a `backend`, `frontend` or `defaults` section, and what each section of the page calls them.
pub const LINES: [(&str, &[&str]); 4] = [
    (
        "## Proxy options",
        &[
            "option redispatch",
            "retries",
            "retry-on",
            "option allbackups",
            "option httpchk",
            "http-check expect",
            "option forwardfor",
            "option abortonclose",
            "http-reuse",
            "fullconn",
            "http-request set-priority-class",
            "http-request set-priority-offset",
            "maxconn",
            "default_backend",
            "option httplog",
        ],
    ),
    (
        "## Hashing",
        &[
            "hash-type consistent",
            "hash-type map-based",
            "sdbm",
            "djb2",
            "wt6",
            "crc32",
            "avalanche",
            "hash-balance-factor",
            "hash-preserve-affinity",
            "hash-key",
        ],
    ),
    ("## Persistence", &["cookie", "stick-table", "stick on", "option persist", "ignore-persist", "peers"]),
    (
        "## Timeouts",
        &[
            "timeout connect",
            "timeout queue",
            "timeout server",
            "timeout client",
            "timeout http-request",
            "timeout http-keep-alive",
            "timeout tunnel",
            "timeout check",
            "timeout client-fin",
            "timeout server-fin",
            "timeout tarpit",
            "timeout resolve",
            "timeout retry",
            "resolve_retries",
            "hold nx",
            "hold refused",
            "hold timeout",
            "hold other",
            "hold valid",
            "hold obsolete",
            "stats timeout",
            "timeout mail",
            "timeout hello",
            "timeout idle",
            "timeout processing",
            "hard-stop-after",
        ],
    ),
];

/// Commands of the runtime socket.
pub const SOCKET: [&str; 17] = [
    "show stat",
    "show info",
    "show servers state",
    "show sess",
    "set server b/s weight",
    "set server b/s state",
    "set server b/s addr",
    "set server b/s health",
    "set maxconn server",
    "disable server",
    "enable server",
    "add server",
    "del server",
    "show table",
    "clear table",
    "shutdown session",
    "set ssl cert",
];

/// The columns of HAProxy's statistics that operators use, and ours.
pub const COLUMNS: [&str; 34] = [
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "bin",
    "bout",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "lastchg",
    "lbtot",
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "hrsp_1xx",
    "hrsp_5xx",
    "cli_abrt",
    "srv_abrt",
    "throttle",
    "check_status",
    "req_tot",
    "ttft",
    "tokens",
    "pxname",
];
