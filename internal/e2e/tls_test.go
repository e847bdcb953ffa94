package e2e_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/internal/certs"
	"github.com/musterhq/muster/internal/testca"
)

// secured is a cluster whose nodes serve TLS with certificates of one authority.
type secured struct {
	*cluster
	ca    *testca.CA
	user  testca.Pair // of callers
	pairs map[string]testca.Pair
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	s := &secured{cluster: newCluster(t), ca: testca.New(t, "authority"), pairs: map[string]testca.Pair{}}
	s.user = s.ca.Issue(t, testca.Leaf{CommonName: "ada"})
	keeper := certs.NewKeeper(certs.Files{Cert: s.user.CertFile, Key: s.user.KeyFile, CA: []string{s.ca.File}})
	if err := keeper.Load(); err != nil {
		t.Fatal(err)
	}
	s.secure = keeper.Client("")
	return s
}

// node describes a node with a certificate that carries its name.
func (s *secured) node(name string, args ...string) *node {
	s.t.Helper()
	return s.with(name, s.ca.Issue(s.t, testca.Leaf{CommonName: name}), args...)
}

func (s *secured) with(name string, p testca.Pair, args ...string) *node {
	s.t.Helper()
	s.pairs[name] = p
	return s.cluster.node(name, append([]string{"--mgmt-tls-cert", p.CertFile, "--mgmt-tls-key", p.KeyFile, "--mgmt-tls-ca", s.ca.File}, args...)...)
}

// status runs muster status with the flags of a caller.
func (s *secured) status(n *node, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	return run(s.t, []string{"MUSTER_TOKEN=" + s.token}, append([]string{"status", "--addr", n.url()}, args...)...)
}

func TestThreeNodesOnMutualTLS(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	n1 := s.node("n1", "--mgmt-tls-client-auth", "require-name").up()
	n2 := s.node("n2", "--mgmt-tls-client-auth", "require-name", "--cluster-join-endpoint", n1.addr).up() // https is understood
	n3 := s.node("n3", "--mgmt-tls-client-auth", "require-name", "--cluster-join-endpoint", n2.url()).up()
	lifeOfThree(t, n1, n2, n3)
	m, err := n1.member("n3")
	if err != nil || m.Endpoint != n3.url() {
		t.Errorf("n3 is listed at %s, want %s (%v)", m.Endpoint, n3.url(), err)
	}
	for _, p := range n1.mustStatus().Problems {
		t.Errorf("unexpected problem %s: %s", p.Code, p.Text)
	}

	code, out, stderr := s.status(n1, "--ca", s.ca.File, "--cert", s.user.CertFile, "--key", s.user.KeyFile)
	if code != 0 || !strings.Contains(out, "HEALTHY") {
		t.Errorf("status with a certificate: exit %d\n%s%s", code, out, stderr)
	}
	if code, _, stderr := s.status(n1, "--ca", s.ca.File); code != 4 || !strings.Contains(stderr, "wants a client certificate") {
		t.Errorf("status without a certificate: exit %d, want 4\n%s", code, stderr)
	}
	if code, _, stderr := s.status(n1); code != 7 || !strings.Contains(stderr, "--ca FILE") {
		t.Errorf("status without the authority: exit %d, want 7\n%s", code, stderr)
	}
}

func TestThreeNodesOnTLSBelowAPrefix(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	s.prefix = "/ops/muster"
	args := []string{"--mgmt-path-prefix", s.prefix, "--mgmt-tls-client-auth", "require"}
	n1 := s.node("n1", args...).up()
	n2 := s.node("n2", append(args, "--cluster-join-endpoint", n1.url())...).up()
	n3 := s.node("n3", append(args, "--cluster-join-endpoint", n2.url())...).up()
	lifeOfThree(t, n1, n2, n3)
}

func TestPlainHTTPOnATLSPortIsToldToUseHTTPS(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	n := s.node("n1").up()
	res, err := http.Get("http://" + n.addr + "/cluster/status") //nolint:noctx // the test's own node
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %s %s, want 400 and a problem", res.Status, res.Header.Get("Content-Type"))
	}
	code, _, stderr := run(t, nil, "status", "--addr", "http://"+n.addr)
	if code != 7 || !strings.Contains(stderr, "https://") || !strings.Contains(stderr, "tls-required") {
		t.Errorf("exit %d, want 7:\n%s", code, stderr)
	}
}

// refusedJoiner is a node that does not get in.
type refusedJoiner struct {
	name    string
	pair    testca.Pair
	ca      *testca.CA
	expects string // --mgmt-tls-server-name
	code    muster.Code
}

// TestARefusedJoinerSaysWhy: the reason is in the joiner's own status.
func TestARefusedJoinerSaysWhy(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	home := s.node("home", "--mgmt-tls-client-auth", "require-name").up()
	foreign := testca.New(t, "somebody else")
	const day = 24 * time.Hour
	for _, tt := range []refusedJoiner{
		{"untrusting", s.ca.Issue(t, testca.Leaf{}), foreign, "", muster.CodeCertificateUntrusted},
		{"foreign", foreign.Issue(t, testca.Leaf{}), s.ca, "", muster.CodeClientCertRefused},
		{"expired", s.ca.Issue(t, testca.Leaf{CommonName: "expired", To: -day}), s.ca, "", muster.CodeClientCertRefused},
		{"early", s.ca.Issue(t, testca.Leaf{CommonName: "early", From: day, To: 2 * day}), s.ca, "", muster.CodeClientCertRefused},
		{"other-name", s.ca.Issue(t, testca.Leaf{CommonName: "home"}), s.ca, "", muster.CodeCertificateWrongNode},
		{"bare", testca.Pair{}, s.ca, "", muster.CodeClientCertRequired},
		{"misled", s.ca.Issue(t, testca.Leaf{CommonName: "misled"}), s.ca, "db.internal", muster.CodeCertificateName},
	} {
		s.refused(tt, home)
	}
	if s := home.mustStatus(); s.Members != 1 {
		t.Errorf("the cluster has %d members, want 1", s.Members)
	}
}

// refused starts a node and waits until its own status says why it is alone.
func (s *secured) refused(j refusedJoiner, home *node) {
	t := s.t
	t.Helper()
	c := *s.cluster
	args := []string{"--cluster-join-endpoint", home.url(), "--formation", "never", "--mgmt-tls-ca", j.ca.File}
	if c.secure = nil; j.pair.CertFile != "" {
		c.secure = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // to ask nodes whose certificates are wrong on purpose
		args = append(args, "--mgmt-tls-cert", j.pair.CertFile, "--mgmt-tls-key", j.pair.KeyFile)
	}
	if j.expects != "" {
		args = append(args, "--mgmt-tls-server-name", j.expects)
	}
	n := c.node(j.name, args...).up()
	eventually(t, 15*time.Second, func() error { return names(n, j.code) })
	p, err := n.problemOf(http.MethodGet, "/ready", "")
	if err != nil || p.Status != http.StatusServiceUnavailable {
		t.Errorf("%s: /ready answers %+v, %v; want 503", j.name, p, err)
	}
	n.kill()
}

// names reports nil once the node's status has a problem with that code.
func names(n *node, want muster.Code) error {
	status, err := n.status()
	if err != nil {
		return err
	}
	for _, p := range status.Problems {
		if p.Code == want && p.Text != "" && !strings.Contains(p.Text, "\n") {
			return nil
		}
	}
	return fmt.Errorf("%s: no problem %s in %+v", n.name, want, status.Problems)
}

// TestAJoinerWithoutTLSIsToldToUseIt covers the two ways to mix the schemes up.
func TestAJoinerWithoutTLSIsToldToUseIt(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	home := s.node("home").up()
	plain := newCluster(t)
	plain.cookie, plain.token = s.cookie, s.token
	lost := plain.node("lost", "--cluster-join-endpoint", "http://"+home.addr).up()
	eventually(t, 10*time.Second, func() error { return names(lost, muster.CodeTLSRequired) })
	strange := s.node("strange", "--cluster-join-endpoint", "https://"+lost.addr).up()
	eventually(t, 10*time.Second, func() error { return names(strange, muster.CodeTLSNotServed) })
}

// TestACertificateThatOthersCannotCheckFailsTheBackDial: the joiner trusts the
// cluster, the cluster does not trust the joiner's address.
func TestACertificateThatOthersCannotCheckFailsTheBackDial(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	home := s.node("home").up()
	n := s.with("elsewhere", s.ca.Issue(t, testca.Leaf{DNS: []string{"elsewhere.internal"}, IPs: []net.IP{}}), "--cluster-join-endpoint", home.url())
	n.start()
	s.secure.InsecureSkipVerify = true
	eventually(t, 10*time.Second, func() error {
		if err := names(n, muster.CodeEndpointUnreachable); err != nil {
			return err
		}
		for _, p := range n.mustStatus().Problems {
			if p.Code == muster.CodeEndpointUnreachable && !strings.HasSuffix(strings.TrimRight(p.Text, "."), "tls") && !strings.Contains(p.Text, ": tls") {
				return fmt.Errorf("the class is not tls: %s", p.Text)
			}
		}
		return nil
	})
}

func TestCertificatesThatCannotBeUsedStopTheStart(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	a, b := s.ca.Issue(t, testca.Leaf{}), s.ca.Issue(t, testca.Leaf{})
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--mgmt-tls-cert", a.CertFile, "--mgmt-tls-key", b.KeyFile}, "certificate-key-mismatch"},
		{[]string{"--mgmt-tls-cert", "/no/such", "--mgmt-tls-key", b.KeyFile}, "certificate-files"},
		{[]string{"--mgmt-tls-cert", a.CertFile}, "needs --mgmt-tls-key"},
		{[]string{"--mgmt-tls-client-auth", "require"}, "no effect without --mgmt-tls-cert"},
		{[]string{"--mgmt-tls-cert", a.CertFile, "--mgmt-tls-key", a.KeyFile, "--mgmt-tls-client-auth", "require"}, "needs --mgmt-tls-ca"},
		{[]string{"--mgmt-tls-cert", a.CertFile, "--mgmt-tls-key", a.KeyFile, "--mgmt-advertise", "http://127.0.0.1:1"}, "says http"},
	} {
		code, _, stderr := run(t, nil, append([]string{"serve", "--data-dir", t.TempDir(), "--mgmt-bind", "127.0.0.1:0"}, tt.args...)...)
		if code != 2 || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: exit %d, want 2 and %q:\n%s", tt.args, code, tt.want, stderr)
		}
	}
}

func TestExpiryIsShown(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	s.secure = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // to ask a node whose certificate has expired
	const day = 24 * time.Hour
	soon := s.with("soon", s.ca.Issue(t, testca.Leaf{To: 5*day + time.Hour})).up()
	late := s.with("late", s.ca.Issue(t, testca.Leaf{To: -2*day - time.Hour})).up()
	early := s.with("early", s.ca.Issue(t, testca.Leaf{From: 3*day + time.Hour})).up()
	fresh := s.node("fresh").up()
	eventually(t, 5*time.Second, func() error {
		return firstError(names(soon, muster.CodeCertificateExpiring), names(late, muster.CodeCertificateExpired), names(early, muster.CodeCertificateNotYetValid))
	})
	if text := soon.mustStatus().Problems[0].Text; !strings.Contains(text, "5 days") {
		t.Errorf("the problem does not say how long: %s", text)
	}
	if problems := fresh.mustStatus().Problems; len(problems) != 0 {
		t.Errorf("unexpected problems: %+v", problems)
	}
	if expiry := metric(t, soon, "muster_tls_certificate_expiry_timestamp_seconds"); time.Until(time.Unix(int64(expiry), 0)).Round(day) != 5*day {
		t.Errorf("the metric says %v", time.Unix(int64(expiry), 0))
	}
}

// metric reads a sample by its name with labels.
func metric(t *testing.T, n *node, name string) (value float64) {
	t.Helper()
	_, data, err := n.request(http.MethodGet, "/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err == nil {
				return value
			}
		}
	}
	t.Fatalf("%s has no %s", n.name, name)
	return 0
}

// links counts the packet links of a node, and those it has ever made.
func links(t *testing.T, n *node) [2]float64 {
	t.Helper()
	_, data, err := n.request(http.MethodGet, "/metrics", "")
	if err != nil {
		t.Fatal(err)
	}
	var count [2]float64
	for line := range strings.Lines(string(data)) {
		if !strings.Contains(line, `channel="packet"`) {
			continue
		}
		for i, name := range []string{"muster_link_links{", "muster_link_handshakes_total{"} {
			if strings.HasPrefix(line, name) {
				var value float64
				_, _ = fmt.Sscan(line[strings.LastIndex(line, " ")+1:], &value) // a metric's line ends with a number
				count[i] += value
			}
		}
	}
	return count
}

// settledLinks waits until each node has one packet link to each other one, and
// has made no new one for a second.
func settledLinks(t *testing.T, nodes []*node) map[string][2]float64 {
	t.Helper()
	seen, since := map[string][2]float64{}, time.Now()
	eventually(t, 15*time.Second, func() error {
		for _, n := range nodes {
			now := links(t, n)
			if now != seen[n.name] || int(now[0]) != len(nodes)-1 {
				seen[n.name], since = now, time.Now()
			}
		}
		if calm := time.Since(since); calm < time.Second {
			return fmt.Errorf("links %v are settled for %s", seen, calm)
		}
		return nil
	})
	return seen
}

// TestReloadDropsNoLink renews all certificates under load: by the clock, and at
// once by SIGHUP.
func TestReloadDropsNoLink(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	n1 := s.node("n1", "--mgmt-tls-client-auth", "require").up()
	n2 := s.node("n2", "--mgmt-tls-client-auth", "require", "--cluster-join-endpoint", n1.url()).up()
	n3 := s.node("n3", "--mgmt-tls-client-auth", "require", "--cluster-join-endpoint", n1.url()).up()
	nodes := []*node{n1, n2, n3}
	all(t, 15*time.Second, nodes...)
	before := settledLinks(t, nodes)
	boots := bootsOf(t, n1)
	stop := loadTLS(t, nodes)
	for round := range 2 {
		for _, n := range nodes {
			pair := s.ca.Renew(t, testca.Leaf{CommonName: n.name}, s.pairs[n.name])
			if round == 1 {
				n.Signal(t, syscall.SIGHUP)
			}
			eventually(t, 10*time.Second, func() error { return serves(s, n, pair.Serial) })
		}
	}
	stop()
	all(t, 5*time.Second, nodes...)
	for _, n := range nodes {
		if after := links(t, n); after != before[n.name] {
			t.Errorf("%s: packet links and handshakes %v, before the reloads %v", n.name, after, before[n.name])
		}
	}
	if after := bootsOf(t, n1); fmt.Sprint(after) != fmt.Sprint(boots) {
		t.Errorf("boots %v, before %v", after, boots)
	}
	badFilesChangeNothing(t, s, n1)
}

// badFilesChangeNothing puts a key in place that does not fit, and takes it back.
func badFilesChangeNothing(t *testing.T, s *secured, n *node) {
	t.Helper()
	good, other := s.pairs[n.name], s.ca.Issue(t, testca.Leaf{})
	at := testca.Pair{CertFile: other.CertFile, KeyFile: good.KeyFile}
	s.ca.Renew(t, testca.Leaf{}, at) // a new key, beside the old certificate
	eventually(t, 5*time.Second, func() error { return names(n, muster.CodeCertificateKeyMismatch) })
	next := s.ca.Renew(t, testca.Leaf{CommonName: n.name}, good)
	eventually(t, 5*time.Second, func() error { return serves(s, n, next.Serial) })
	if problems := n.mustStatus().Problems; len(problems) != 0 {
		t.Errorf("problems stay: %+v", problems)
	}
}

// load writes through each node until the returned function is called, which
// fails the test if one of the writes failed.
func loadTLS(t *testing.T, nodes []*node) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var writers sync.WaitGroup
	for _, n := range nodes {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if _, err := n.create(fmt.Sprintf("route/%s-%d", n.name, i), `{"i":1}`); err != nil {
					t.Errorf("write %d: %v", i, err)
					return
				}
			}
		})
	}
	return func() {
		close(done)
		writers.Wait()
	}
}

func bootsOf(t *testing.T, n *node) (boots []muster.Boot) {
	t.Helper()
	for _, name := range []string{"n1", "n2", "n3"} {
		m, err := n.member(name)
		if err != nil {
			t.Fatal(err)
		}
		boots = append(boots, m.Boot)
	}
	return boots
}

// serves reports nil once the node shows the certificate with that serial number.
func serves(s *secured, n *node, want *big.Int) error {
	nc, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", n.addr, s.secure)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	if got := nc.ConnectionState().PeerCertificates[0].SerialNumber; got.Cmp(want) != 0 {
		return fmt.Errorf("%s serves %x, want %x", n.name, got, want)
	}
	return nil
}

func TestOldTLSVersionsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	n := s.node("n1").up()
	old := s.secure.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if nc, err := tls.Dial("tcp", n.addr, old); err == nil {
		_ = nc.Close()
		t.Error("TLS 1.1 is served")
	} else if f, ok := certs.Explain(err); !ok || f.Code != certs.CodeVersion {
		t.Errorf("got %v, want %s", err, certs.CodeVersion)
	}
}

// TestARunningClusterMovesToTLS follows the page on TLS: the authority first, then
// the certificates, one node after the other.
func TestARunningClusterMovesToTLS(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	secure := s.secure
	s.secure = nil
	n1 := s.cluster.node("n1").up()
	n2 := s.cluster.node("n2", "--cluster-join-endpoint", n1.url()).up()
	all(t, 15*time.Second, n1, n2)
	id := n1.mustStatus().ClusterID
	nodes := []*node{n1, n2}
	trust := []string{"--mgmt-tls-ca", s.ca.File}
	for _, n := range nodes {
		if code := n.terminate(); code != 0 {
			t.Fatalf("%s: exit %d", n.name, code)
		}
		n.args = append(n.args, trust...)
		n.up()
		all(t, 15*time.Second, nodes...)
	}
	moved := *s.cluster
	moved.secure = secure
	for _, n := range nodes {
		if code := n.terminate(); code != 0 {
			t.Fatalf("%s: exit %d", n.name, code)
		}
		pair := s.ca.Issue(t, testca.Leaf{CommonName: n.name})
		n.args = append(n.args, "--mgmt-tls-cert", pair.CertFile, "--mgmt-tls-key", pair.KeyFile)
		n.c = &moved
		n.up()
		all(t, 15*time.Second, nodes...)
	}
	if got := n2.mustStatus().ClusterID; got != id {
		t.Errorf("the cluster is %s, was %s", got, id)
	}
	m, err := n2.member("n1")
	if err != nil || m.Endpoint != n1.url() {
		t.Errorf("n1 is listed at %s, want %s (%v)", m.Endpoint, n1.url(), err)
	}
}

// TestLoginOnATLSPortIsACookie: sessions of browsers are out of reach of scripts.
func TestLoginOnATLSPortIsACookie(t *testing.T) {
	t.Parallel()
	s := newSecured(t)
	n := s.node("n1").up()
	res, data, err := n.request(http.MethodPost, "/v1/logins", "")
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("make a login code: %v %s", err, data)
	}
	var login struct{ Code string }
	if err := json.Unmarshal(data, &login); err != nil {
		t.Fatal(err)
	}
	res, data, err = n.request(http.MethodPost, "/v1/session", fmt.Sprintf(`{"code":%q}`, login.Code), "Content-Type", "application/json")
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("log in: %v %s", err, data)
	}
	if set := res.Header.Get("Set-Cookie"); !strings.HasPrefix(set, "__Host-") || !strings.Contains(set, "; Secure") || !strings.Contains(string(data), `"token":""`) {
		t.Error("the session is not a __Host- cookie alone")
	}
}
