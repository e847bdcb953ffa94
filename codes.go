package muster

import "slices"

// CodeInfo explains one code. Status is the HTTP status of a problem with this
// code (0: it never answers a request), Exit the exit code of the command line.
type CodeInfo struct {
	Code   Code   `json:"code"`
	Status int    `json:"status"`
	Exit   int    `json:"exit"`
	Title  string `json:"title"`
	Why    string `json:"why"`
	Fix    string `json:"fix"`
}

// Codes of requests.
const (
	CodeInternal             Code = "internal"
	CodeBadRequest           Code = "bad-request"
	CodeBadDocument          Code = "bad-document"
	CodeTooLarge             Code = "too-large"
	CodeUnsupportedMedia     Code = "unsupported-media-type"
	CodeNotFound             Code = "not-found"
	CodeMethodNotAllowed     Code = "method-not-allowed"
	CodeNotAcceptable        Code = "not-acceptable"
	CodePreconditionRequired Code = "precondition-required"
	CodeConflict             Code = "conflict"
	CodeCompacted            Code = "compacted"
	CodeHostNotAllowed       Code = "host-not-allowed"
	CodeCrossSite            Code = "cross-site"
	CodeTooManyRequests      Code = "too-many-requests"
	CodeTimeout              Code = "timeout"
	CodeLoop                 Code = "loop"
)

// Codes of credentials.
const (
	CodeUnauthenticated Code = "unauthenticated"
	CodeForbidden       Code = "forbidden"
	CodeLoginExpired    Code = "login-expired"
	CodeInsecureLogin   Code = "insecure-login"
	CodeCookieMismatch  Code = "cookie-mismatch"
	CodeCookieRetired   Code = "cookie-retired"
	CodeWeakCookie      Code = "weak-cookie"
	CodeCookieReadable  Code = "cookie-readable"
	CodeCookieMissing   Code = "cookie-missing"

	CodeNetworkNotAllowed Code = "network-not-allowed"
)

// Codes of joining and forming.
const (
	CodeWaitingForPeers     Code = "waiting-for-peers"
	CodeNotFormed           Code = "not-formed"
	CodeAlreadyFormed       Code = "already-formed"
	CodeClusterMismatch     Code = "cluster-mismatch"
	CodeNameInUse           Code = "name-in-use"
	CodeClone               Code = "clone"
	CodeWrongTarget         Code = "wrong-target"
	CodeSelf                Code = "self"
	CodeVersionRange        Code = "version"
	CodeExpelled            Code = "expelled"
	CodeExpelledKnowsCookie Code = "expelled-node-knows-cookie"
	CodeExpelHome           Code = "expel-home"
	CodeExpelUnsafe         Code = "expel-unsafe"
	CodeAddressNotAllowed   Code = "address-not-allowed"
	CodeEndpointUnreachable Code = "endpoint-unreachable"
	CodeExpectMismatch      Code = "expect-mismatch"
	CodeExpectTooSmall      Code = "expect-too-small"
	CodeExpectNotSet        Code = "expect-not-set"
	CodeFormationMismatch   Code = "formation-mismatch"
	CodeArbiterUnavailable  Code = "arbiter-unavailable"
	CodePromiseHeld         Code = "promise-held"
	CodeStoreMismatch       Code = "store-mismatch"
	CodeDraining            Code = "draining"
	CodePeerUnreachable     Code = "peer-unreachable"
	CodeNotMuster           Code = "not-muster"
	CodeUpgradeStripped     Code = "upgrade-stripped"
)

// Codes of TLS and its certificates.
const (
	CodeCertificateExpired     Code = "certificate-expired"
	CodeCertificateExpiring    Code = "certificate-expiring"
	CodeCertificateFiles       Code = "certificate-files"
	CodeCertificateKeyMismatch Code = "certificate-key-mismatch"
	CodeCertificateName        Code = "certificate-name"
	CodeCertificateNotYetValid Code = "certificate-not-yet-valid"
	CodeCertificateUntrusted   Code = "certificate-untrusted"
	CodeCertificateWrongNode   Code = "certificate-wrong-node"
	CodeClientCertRefused      Code = "client-certificate-refused"
	CodeClientCertRequired     Code = "client-certificate-required"
	CodeTLSHandshake           Code = "tls-handshake"
	CodeTLSNotServed           Code = "tls-not-served"
	CodeTLSRequired            Code = "tls-required"
	CodeTLSVersion             Code = "tls-version"
)

// Codes of configuration and store.
const (
	CodeBehind           Code = "behind"
	CodeNotSynced        Code = "not-synced"
	CodeStoreUnavailable Code = "store-unavailable"
	CodeConfigHomeDown   Code = "config-home-down"
	CodeOutcomeUnknown   Code = "outcome-unknown"
	CodeDiverged         Code = "diverged"
	CodeStoreSchema      Code = "store-schema"
	CodeStorePlaintext   Code = "store-plaintext"
)

// Codes of running a node.
const (
	CodeUsage          Code = "usage"
	CodeBadConfig      Code = "bad-config"
	CodeAddressInUse   Code = "address-in-use"
	CodeDataDirInUse   Code = "data-dir-in-use"
	CodeDataDir        Code = "data-dir"
	CodeAdvertise      Code = "advertise"
	CodePlaintext      Code = "plaintext"
	CodeInsecure       Code = "insecure"
	CodeMemberAlive    Code = "member-alive"
	CodeMemberGone     Code = "member-gone"
	CodeMembersMissing Code = "members-missing"
	CodeConfigLag      Code = "config-lag"
	CodePartialMesh    Code = "partial-mesh"
	CodeIsolated       Code = "isolated"
	CodeClockSkew      Code = "clock-skew"
	CodeNoLeader       Code = "no-leader"
	CodeOK             Code = "ok"
)

// Codes returns every code with its explanation, in the order of the constants.
func Codes() []CodeInfo {
	return slices.Concat(requestCodes(), credentialCodes(), joinCodes(), tlsCodes(), storeCodes(), nodeCodes())
}

func requestCodes() []CodeInfo {
	return []CodeInfo{
		{CodeInternal, 500, 1, "something unexpected went wrong",
			"muster met a condition it has no name for; the node's log has the details under the same request id",
			"look up the request id in the node's log and report it"},
		{CodeBadRequest, 400, 2, "the request is malformed",
			"a parameter, header or the body does not have the documented form",
			"correct what the errors list names; the API is described at /v1/openapi.json"},
		{CodeBadDocument, 422, 2, "the document is not acceptable",
			"the body is not JSON, repeats a key, holds a NUL character, nests too deeply, or does not fit the schema of its kind",
			"correct the field that is named and send it again; nothing was written"},
		{CodeTooLarge, 413, 2, "the body is too large",
			"a specification may have 262144 bytes",
			"split the document"},
		{CodeUnsupportedMedia, 415, 2, "the content type is not accepted",
			"a browser session may send application/json only",
			"send Content-Type: application/json"},
		{CodeNotFound, 404, 5, "there is no such thing",
			"nothing answers to that name or path",
			"list what exists: muster config list, muster members"},
		{CodeMethodNotAllowed, 405, 2, "the method is not offered here",
			"the path exists, the method does not",
			"see the Allow header"},
		{CodeNotAcceptable, 406, 2, "no offered form suits the caller",
			"the Accept header excludes what this path serves",
			"accept application/json"},
		{CodePreconditionRequired, 428, 6, "the write names no condition",
			"every write says what it replaces, so that nobody overwrites what he has not seen",
			"send If-None-Match: * to create, or If-Match with the ETag you read"},
		{CodeConflict, 412, 6, "the document has changed meanwhile",
			"another write came first; the answer holds the current document",
			"read it again, apply your change, and send its revision in If-Match"},
		{CodeCompacted, 410, 5, "that part of the history is gone",
			"the change log was compacted past the revision that was asked for",
			"read a snapshot: list the documents, then follow from the revision of the answer"},
		{CodeHostNotAllowed, 421, 2, "the Host header is not one of this node's",
			"the node refuses foreign host names to stop DNS rebinding",
			"use an IP address or the advertised name, or start with --mgmt-allowed-host NAME"},
		{CodeCrossSite, 403, 4, "a page of another site made this request",
			"browsers say where a request comes from; only the dashboard's own origin may write",
			"use the dashboard of this node or a bearer token"},
		{CodeTooManyRequests, 429, 8, "too many requests",
			"a limit was reached for this caller",
			"wait for the time in Retry-After"},
		{CodeTimeout, 504, 8, "the answer did not come in time",
			"the wait ended before the condition was true",
			"ask again, or wait longer"},
		{CodeLoop, 508, 1, "a forwarded write came back to be forwarded again",
			"a write may pass on to one other node only",
			"look for two nodes that each believe the other one reaches the store: muster status on both"},
	}
}

func credentialCodes() []CodeInfo {
	return []CodeInfo{
		{CodeUnauthenticated, 401, 4, "no valid credential came with the request",
			"the token is missing, malformed, expired or signed with a cookie this cluster does not accept",
			"make one: muster token create --role viewer --cluster-cookie-file FILE, and send it as Authorization: Bearer TOKEN"},
		{CodeForbidden, 403, 4, "the token's role does not allow this",
			"each operation asks for a role: viewer, app, operator or admin",
			"use a token with the role that the text names"},
		{CodeLoginExpired, 401, 4, "the login code is used up or too old",
			"a login code works once and for ten minutes",
			"get a fresh link: muster ui"},
		{CodeInsecureLogin, 403, 4, "login over plain HTTP from another machine",
			"a session would cross the network in clear text",
			"serve TLS, or open the dashboard through an SSH tunnel to the node's loopback address"},
		{CodeCookieMismatch, 401, 4, "the other node accepts another cluster cookie",
			"the two nodes were given different cookie files, or the cookie was rotated",
			"copy the cluster's cookie file to this node and check the key ids that the text names"},
		{CodeCookieRetired, 401, 4, "the cluster has dropped this node's cookie",
			"the cookie was rotated while this node was away",
			"copy the current cookie file to this node"},
		{CodeWeakCookie, 0, 2, "the cookie is too easy to guess",
			"a cookie is one made by muster, or has at least 32 characters with 12 different ones",
			"make one: muster cookie new --out FILE"},
		{CodeCookieReadable, 0, 2, "others on this machine can read the cookie file",
			"the cookie is the root secret of the cluster",
			"chmod 600 FILE (or 640 with a group of its own)"},
		{CodeCookieMissing, 0, 2, "no cookie, and the address is not loopback",
			"without a cookie anyone who reaches the port is an operator",
			"make one with muster cookie new --out FILE and pass --cluster-cookie-file FILE"},
		{CodeNetworkNotAllowed, 403, 4, "the caller's network is not answered",
			"the node was started with --mgmt-allowed-networks, and the caller's address is in none of them",
			"call from a listed network, or add the caller's to --mgmt-allowed-networks of the node that answered; loopback must be listed too"},
	}
}

func joinCodes() []CodeInfo {
	return []CodeInfo{
		{CodeWaitingForPeers, 503, 3, "the node has not joined a cluster yet",
			"it waits for an endpoint that answers, or for enough nodes to form a cluster",
			"see the text for what each endpoint answered; start the missing nodes"},
		{CodeNotFormed, 503, 3, "the node belongs to no cluster yet",
			"a node that was told to join does not form a cluster of its own",
			"wait, or look at /ready of the node that answered"},
		{CodeAlreadyFormed, 409, 6, "there is a cluster already",
			"a cluster is formed once; this node, or one that it knows of, belongs to one",
			"let the node join that cluster: --cluster-join-endpoint; to move a node to another cluster, stop it and run muster cluster forget"},
		{CodeClusterMismatch, 409, 6, "the other node belongs to another cluster",
			"both were formed on their own, or an address was reused",
			"point --cluster-join-endpoint at the right cluster; to move a node, stop it and empty its data directory"},
		{CodeNameInUse, 409, 6, "another live node has this name",
			"names are unique among live members",
			"choose another --cluster-node-name, or stop the holder that the text names"},
		{CodeClone, 409, 6, "another live process has this node's identity",
			"a data directory was copied",
			"stop one of the two and empty its data directory"},
		{CodeWrongTarget, 409, 7, "a different node answered at this address",
			"the address was reused, or a balancer stands before several nodes",
			"give each node an address of its own with --mgmt-advertise"},
		{CodeSelf, 409, 3, "the endpoint is this node itself",
			"a node's own address is among its join endpoints; that is fine",
			"nothing to do"},
		{CodeVersionRange, 409, 3, "the two nodes speak no common protocol version",
			"one of them is too old",
			"upgrade the older node"},
		{CodeExpelled, 403, 4, "this node was expelled from the cluster",
			"an operator removed it for good",
			"readmit it on another member: muster node readmit NODE_ID; or start it with an empty data directory, as a new node"},
		{CodeExpelledKnowsCookie, 0, 3, "an expelled machine still knows the cluster's cookie",
			"its node id is refused, but whoever holds the cookie can make a new one, and operators' tokens too",
			"exchange the cookie on all machines: muster keys rotate, or muster node expel NODE --rotate; it goes away once no member accepts the old one"},
		{CodeExpelHome, 409, 6, "the config home cannot be expelled",
			"its disk holds the configuration of the cluster, which would be lost with it",
			"stop it, move its data directory to a machine that you trust and start it there with the same name; then exchange the cookie (muster keys rotate), which shuts the old machine out"},
		{CodeExpelUnsafe, 409, 6, "the expulsion would stop the node that answers, or leave no healthy majority",
			"it may be a slip, or this may be the wrong side of a partition",
			"ask another member with --addr, or bring members back first; to do it anyway: --force"},
		{CodeAddressNotAllowed, 403, 4, "the address lies outside what may be dialled",
			"link-local, metadata, multicast and unspecified addresses are never dialled, loopback only from loopback, and --allowed-address-space narrows the rest",
			"advertise an address that the other members can use: --mgmt-advertise"},
		{CodeEndpointUnreachable, 409, 7, "the cluster cannot call this node back",
			"the accepting node dialled the advertised endpoint and did not reach this node there",
			"set --mgmt-advertise to an address that the other members reach, and open the port"},
		{CodeExpectMismatch, 409, 6, "the nodes were given different values of --bootstrap-expect",
			"they would not agree on when to form the cluster",
			"start all of them with the same value"},
		{CodeExpectTooSmall, 409, 6, "--bootstrap-expect is too small for the nodes in sight",
			"it must be more than half of all candidates, or two clusters could form",
			"raise --bootstrap-expect on all nodes, or start fewer"},
		{CodeExpectNotSet, 503, 3, "the node does not know how many nodes form the cluster",
			"with discovery alone, nobody can tell the first node from a late one",
			"start all first nodes with --bootstrap-expect N"},
		{CodeFormationMismatch, 409, 6, "the nodes were told to form the cluster by different means",
			"one would form it beside the other",
			"give all nodes the same --config-store, --discovery and --bootstrap-expect"},
		{CodeArbiterUnavailable, 503, 3, "the service that decides who forms the cluster does not answer",
			"no node forms a cluster without it; one that exists can be joined all the same",
			"check the address and the credentials of the discovery method, then wait: it is asked again"},
		{CodePromiseHeld, 503, 3, "the node has promised to wait for another one to form the cluster",
			"that node is not answering any more",
			"bring the named node back, or muster cluster form --force on one node"},
		{CodeStoreMismatch, 409, 6, "the node has another config store than the cluster",
			"its --config-store names a database of another cluster, or a store the cluster does not use",
			"use the cluster's store, or --config-store auto"},
		{CodeDraining, 503, 3, "the node is shutting down",
			"it takes no new work",
			"ask another member"},
		{CodePeerUnreachable, 503, 7, "the other node does not answer",
			"the address is wrong, the node is down, or something between drops the connection",
			"check the address and port from this machine: curl ENDPOINT/health"},
		{CodeNotMuster, 502, 7, "something else answers at this address",
			"it speaks HTTP but is no muster management port",
			"check host, port and path of the endpoint; the default port is 9113"},
		{CodeUpgradeStripped, 426, 7, "a proxy between the nodes removed the Upgrade header",
			"links between nodes are WebSockets",
			"let the proxy pass it; nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"},
	}
}

func tlsCodes() []CodeInfo {
	return []CodeInfo{
		{CodeCertificateExpired, 0, 7, "a certificate has expired",
			"nobody who checks it talks to its owner any more",
			"put a new certificate and key in place of the old files; they are read again by themselves"},
		{CodeCertificateExpiring, 0, 3, "the node's certificate expires within 14 days",
			"after that date other nodes and clients refuse this node",
			"put a new certificate and key in place of the old files; they are read again by themselves"},
		{CodeCertificateFiles, 0, 2, "a certificate file cannot be used",
			"certificate, key or authorities cannot be read, or are not PEM; a running node goes on with the ones it had",
			"correct the file that the text names; it is read again by itself"},
		{CodeCertificateKeyMismatch, 0, 2, "the key does not belong to the certificate",
			"the two files come from different pairs; a running node goes on with the ones it had",
			"put both files of one pair in place"},
		{CodeCertificateName, 0, 7, "the certificate is for another name",
			"the host in the address is not among the names in the certificate",
			"use an address that the certificate names, issue it with this name, or say which name to expect: --mgmt-tls-server-name on nodes, --tls-server-name in commands"},
		{CodeCertificateNotYetValid, 0, 7, "a certificate is not valid yet",
			"its first day lies ahead, or the clock of this machine is slow",
			"compare the clocks: date -u; else issue the certificate anew"},
		{CodeCertificateUntrusted, 0, 7, "the certificate is signed by an authority that is not trusted",
			"it is self-signed, or its authority is not the one that was given here",
			"give the authority's certificate: --mgmt-tls-ca FILE to nodes, --ca FILE to commands"},
		{CodeCertificateWrongNode, 403, 4, "the certificate belongs to another node",
			"--mgmt-tls-client-auth require-name wants the node's name in its certificate",
			"issue a certificate with the node's name as DNS name, or start the node with the name in its certificate: --cluster-node-name"},
		{CodeClientCertRefused, 0, 4, "the client certificate was refused",
			"it is expired, or signed by an authority that the other side does not trust, or not meant for clients",
			"use a certificate of the other side's authority with the extended key usage clientAuth"},
		{CodeClientCertRequired, 0, 4, "a client certificate is required",
			"the port was started with --mgmt-tls-client-auth require, and the caller sent none",
			"commands: --cert FILE --key FILE; nodes: --mgmt-tls-cert FILE --mgmt-tls-key FILE"},
		{CodeTLSHandshake, 0, 7, "the TLS handshake failed",
			"the two sides found no common ground; before TLS 1.3 a missing client certificate looks like this too",
			"look at the log of the other side; openssl s_client -connect HOST:PORT shows the handshake"},
		{CodeTLSNotServed, 0, 7, "the port does not speak TLS",
			"the address says https, and the port answers in clear text",
			"write http:// in the address, or serve TLS there: --mgmt-tls-cert, --mgmt-tls-key"},
		{CodeTLSRequired, 400, 7, "the port speaks TLS",
			"the address says http, and the port accepts https only",
			"write https:// in the address"},
		{CodeTLSVersion, 0, 7, "no common version of TLS",
			"TLS 1.2 is the oldest version that is accepted",
			"upgrade the older side"},
	}
}

func storeCodes() []CodeInfo {
	return []CodeInfo{
		{CodeBehind, 503, 3, "the node serves an older revision than was asked for",
			"it has not caught up with the newest change",
			"ask again in a moment, or ask another member"},
		{CodeNotSynced, 503, 3, "the node has no copy of the configuration yet",
			"it has just started and neither its data directory nor a peer could give it one",
			"wait a moment, or look at /ready"},
		{CodeStoreUnavailable, 503, 7, "the config store does not answer",
			"reads go on from memory; writes need the store",
			"bring the database back; writes work again within a second"},
		{CodeConfigHomeDown, 503, 7, "the node that keeps the configuration is down",
			"without Postgres one node's disk is the store; reads go on everywhere",
			"start that node again"},
		{CodeOutcomeUnknown, 504, 8, "the connection to the store broke while it was committing",
			"the write may or may not have happened",
			"send it again with the same Idempotency-Key: it is applied at most once"},
		{CodeDiverged, 503, 3, "the store and this node disagree about history",
			"the store was restored, emptied or failed over and lost its last commits",
			"compare with muster status on every node before writing anything"},
		{CodeStoreSchema, 503, 3, "the database schema is newer than this binary",
			"another node was upgraded and migrated the database",
			"upgrade this node; it serves reads meanwhile"},
		{CodeStorePlaintext, 0, 3, "the connection to the database is not encrypted",
			"sslmode=disable was asked for",
			"use sslmode=verify-full unless the network is trusted"},
	}
}

func nodeCodes() []CodeInfo {
	return []CodeInfo{
		{CodeUsage, 0, 2, "the command line is wrong",
			"a flag, argument or value is not one that exists",
			"see --help; the text names the nearest valid spelling"},
		{CodeBadConfig, 0, 2, "the configuration is not acceptable",
			"a file key, variable or value is unknown or contradicts another",
			"correct the place that the text names"},
		{CodeAddressInUse, 0, 1, "another process listens on this address",
			"a node or another service is already running there",
			"stop it, or choose another --mgmt-bind"},
		{CodeDataDirInUse, 0, 1, "another muster process uses this data directory",
			"two processes must not share one identity",
			"stop the other process, or choose another --data-dir"},
		{CodeDataDir, 0, 1, "the data directory cannot be used",
			"it cannot be created, read or written, or its content is damaged",
			"check its owner, mode and free space"},
		{CodeAdvertise, 0, 2, "no address to advertise",
			"others must be able to reach this node, and none of its addresses is usable for that",
			"pass --mgmt-advertise HOST:PORT; the text lists the candidates"},
		{CodePlaintext, 0, 3, "credentials travel unencrypted",
			"the port is plain HTTP and not on loopback",
			"serve TLS with --mgmt-tls-cert and --mgmt-tls-key, or put a TLS proxy in front"},
		{CodeInsecure, 0, 3, "the node runs with less protection",
			"it was started with --insecure: its cookie was made on the spot, and logins may cross the network in plain HTTP",
			"remove --insecure and pass --cluster-cookie-file"},
		{CodeMemberAlive, 409, 6, "the member still takes part",
			"only a member that is dead or has left can be taken off the list: a live one would put itself back at once",
			"to let it go for good: muster leave --addr ITS-ADDRESS; to keep it out: muster node expel NAME; else stop it and wait until it is dead or left"},
		{CodeMemberGone, 409, 6, "the member takes no part now",
			"a member speaks only for itself, and this one is dead or has left",
			"start it first; to take it off the list: muster node remove NAME"},
		{CodeMembersMissing, 0, 3, "not every member is healthy",
			"a member is suspect, dead or unreachable",
			"ask why: muster why NAME"},
		{CodeConfigLag, 0, 3, "members serve an older revision",
			"they have not caught up with the newest change",
			"wait a moment; then look at the named members' store state"},
		{CodePartialMesh, 0, 3, "a live member does not reach another one",
			"something between the two, a firewall or a proxy, drops one kind of connection or one direction; the others still reach both",
			"on the member that is named first, try the endpoint of the second: curl ENDPOINT/health; all pairs: muster members --matrix"},
		{CodeIsolated, 503, 3, "the node hears nobody",
			"its own probes of several members stay unanswered, though none of them refuses the connection; so the fault is at this node: its network, or too little CPU time",
			"look at this node's network and load; it accuses nobody and comes back by itself"},
		{CodeClockSkew, 0, 3, "the clock of a member is off",
			"it was compared over the link; membership and the order of writes do not depend on clocks, times in lists and logs do",
			"let both machines set their clocks by NTP: timedatectl"},
		{CodeNoLeader, 0, 3, "nobody leads the cluster",
			"no voter that takes work holds the lease of the leader: the config store, which grants it, cannot be reached, or all voters are drained",
			"look at the store's state in the status, and at the members' states; leases return with the store"},
		{CodeOK, 200, 0, "nothing is wrong",
			"",
			""},
	}
}

// Info returns the explanation of a code, and false for a word that is none.
func (c Code) Info() (CodeInfo, bool) {
	for _, info := range Codes() {
		if info.Code == c {
			return info, true
		}
	}
	return CodeInfo{Code: c, Status: 500, Exit: 1, Title: string(c)}, false
}
