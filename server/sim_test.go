package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/config"
	"github.com/musterhq/muster/internal/testnet"
	"github.com/musterhq/muster/join"
	"github.com/musterhq/muster/replica"
	"github.com/musterhq/muster/server"
	"github.com/musterhq/muster/store"
	"github.com/musterhq/muster/store/memory"
)

// sim is a cluster of whole nodes (real HTTP handlers, links, memberlist,
// replicas) on an in-memory network, in virtual time.
type sim struct {
	t      *testing.T
	net    *testnet.Network
	cookie string
	ring   auth.Ring
	token  string
	shared *memory.Store // a database all nodes reach; nil: they keep their own
	client *http.Client

	logs  func(node string) *slog.Logger // of the nodes
	quits []func()                       // ends of hand-made peers

	mu     sync.Mutex
	conns  []*memory.Store // of the nodes to the database
	faults memory.Faults   // of the database now
}

// database makes the database misbehave towards every node.
func (s *sim) database(f memory.Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
	for _, c := range s.conns {
		c.Inject(f)
	}
}

// probesEnd is how long memberlist goes on waiting for the answer to a probe after it
// was shut down. Virtual time stands still once a test has returned.
const probesEnd = 10 * time.Second

// connect opens a connection to the database, in its present state.
func (s *sim) connect() *memory.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.shared.Share()
	conn.Inject(s.faults)
	s.conns = append(s.conns, conn)
	return conn
}

// disconnect lets a process reach no store any more.
func (s *sim) disconnect(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range p.conns {
		s.conns = slices.DeleteFunc(s.conns, func(c *memory.Store) bool { return c == conn })
		conn.Inject(memory.Faults{Down: true})
	}
}

// simulate runs the test inside a bubble of virtual time.
func simulate(t *testing.T, test func(*sim)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1)
		defer s.client.CloseIdleConnections()
		test(s)
		time.Sleep(probesEnd)
	})
}

// newSim makes an empty network, inside a bubble.
func newSim(t *testing.T, seed uint64) *sim {
	t.Helper()
	cookie := auth.NewCookie().Reveal()
	s := &sim{t: t, net: testnet.New(seed), cookie: cookie, ring: ringOf(t, cookie)}
	token, err := s.ring.Issue(auth.Claims{Subject: "test", Role: auth.RoleAdmin, Expires: time.Now().Add(48 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s.token = token
	s.net.Delay(time.Millisecond, time.Millisecond)
	s.client = &http.Client{Transport: &http.Transport{DialContext: s.net.Host("client").Dial}, Timeout: 10 * time.Second}
	s.logs = func(node string) *slog.Logger {
		return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("on", node)
	}
	return s
}

func newRing(t *testing.T) auth.Ring {
	t.Helper()
	return ringOf(t, auth.NewCookie().Reveal())
}

func ringOf(t *testing.T, text string) auth.Ring {
	t.Helper()
	cookie, err := auth.ParseCookie([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return auth.Ring{cookie}
}

// simNode is one simulated machine. Its disk survives stop and kill.
type simNode struct {
	s      *sim
	name   string
	host   string // where it runs: its name, until it moves
	change func(*server.Config)

	disk   *join.Memory
	home   *memory.Store
	mirror *memMirror

	metrics *prometheus.Registry // of the last start
	*process
}

// process is one run of a node.
type process struct {
	server *server.Server
	cancel context.CancelFunc
	done   chan error
	conns  []*memory.Store // to its own store or the database
	dead   atomic.Bool     // killed: what is left of it reaches nobody
}

func (s *sim) node(name string, change func(*server.Config)) *simNode {
	return &simNode{s: s, name: name, host: name, change: change, disk: &join.Memory{}, home: memory.New(), mirror: &memMirror{}}
}

func (n *simNode) url() string { return "http://" + n.host + ":9113" }

// start boots the node.
func (n *simNode) start() *simNode {
	n.s.t.Helper()
	n.process = &process{done: make(chan error, 1)}
	listener, err := n.s.net.Host(n.host).Listen(":9113")
	if err != nil {
		n.s.t.Fatal(err)
	}
	n.metrics = prometheus.NewRegistry()
	cfg := n.config(listener)
	if n.change != nil {
		n.change(&cfg)
	}
	n.server, err = server.New(cfg)
	if err != nil {
		n.s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	run := n.process
	go func() { run.done <- run.server.Run(ctx) }()
	return n
}

func (n *simNode) config(listener net.Listener) server.Config {
	run, disk, mirror := n.process, n.disk, n.mirror
	cfg := server.Config{
		Metrics:  n.metrics,
		NodeName: n.name, Advertise: n.url(), AllowedHosts: []string{n.host}, Cookies: n.s.ring,
		Listener: listener, Dial: run.dial(n.s.net.Host(n.host)),
		OpenStore:  func(kind store.Kind) (store.Store, error) { return n.openStore(run, kind), nil },
		OpenMirror: func() (replica.Mirror, error) { return mirror, nil },
		OpenState:  func() (*join.State, error) { return join.OpenMemory(disk, n.name) },
		Log:        n.s.logs(n.name),
	}
	if n.s.shared != nil {
		cfg.Store = "postgres://simulated"
	}
	return cfg
}

// dial reaches the network until the process is killed.
func (p *process) dial(host *testnet.Host) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if p.dead.Load() {
			return nil, syscall.ENETDOWN
		}
		return host.Dial(ctx, network, address)
	}
}

func (n *simNode) openStore(run *process, kind store.Kind) store.Store {
	conn := n.home.Share()
	if kind == store.KindPostgres {
		conn = n.s.connect()
	}
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	run.conns = append(run.conns, conn)
	return conn
}

// stop ends the node gracefully.
func (n *simNode) stop() {
	n.cancel()
	if err := <-n.done; err != nil {
		n.s.t.Errorf("%s: %v", n.name, err)
	}
}

// kill ends the node like a power failure: at once, and it tells nobody. Its next
// run starts from what was on disk.
func (n *simNode) kill() {
	n.crash()
	<-n.done
}

// crash is kill without waiting for what is left of the process.
func (n *simNode) crash() {
	n.dead.Store(true)
	n.disk, n.mirror = n.disk.Copy(), n.mirror.copy()
	n.s.net.Kill(n.host)
	n.s.disconnect(n.process)
	n.cancel()
}

// revive boots a killed node again.
func (n *simNode) revive() {
	n.s.net.Restart(n.host)
	n.start()
}

// request sends one authenticated request.
func (n *simNode) request(method, path, body string, header ...string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(n.s.t.Context(), 8*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, n.url()+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+n.s.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := n.s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	return res.StatusCode, data, err
}

func (n *simNode) get(path string, v any) error {
	status, data, err := n.request(http.MethodGet, path, "")
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s %s: %d %s", n.name, path, status, data)
	}
	return json.Unmarshal(data, v)
}

func (n *simNode) status() (s muster.Status, err error) {
	err = n.get("/cluster/status", &s)
	return s, err
}

// create writes a new document.
func (n *simNode) create(key, spec string) error {
	status, data, err := n.request(http.MethodPut, "/v1/config/"+key, spec, "If-None-Match", "*")
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("create %s at %s: %d %s", key, n.name, status, data)
	}
	return err
}

// refusal returns the code of the 503 that a write is answered with.
func (n *simNode) refusal(key string) (muster.Code, error) {
	status, data, err := n.request(http.MethodPut, "/v1/config/"+key, `{}`, "If-None-Match", "*")
	if err != nil {
		return "", err
	}
	if status != http.StatusServiceUnavailable {
		return "", fmt.Errorf("status %d: %s", status, data)
	}
	var p struct{ Code muster.Code }
	err = json.Unmarshal(data, &p)
	return p.Code, err
}

// sees reports nil once the node sees size members, all healthy and converged.
func (n *simNode) sees(size int) error {
	s, err := n.status()
	if err != nil {
		return err
	}
	if s.Members != size || s.HealthyMembers != size || s.ClusterHealth != muster.Healthy {
		return fmt.Errorf("%s: %s: %s", n.name, s.ClusterHealth, s.Summary)
	}
	return nil
}

// within polls in virtual time and returns how long it took.
func (s *sim) within(limit time.Duration, check func() error) time.Duration {
	s.t.Helper()
	begun := time.Now()
	for {
		err := check()
		if err == nil {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			s.t.Fatalf("not within %s: %v", limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// formed waits until all nodes see one healthy cluster of exactly them.
func (s *sim) formed(limit time.Duration, nodes ...*simNode) time.Duration {
	s.t.Helper()
	return s.within(limit, func() error {
		for _, n := range nodes {
			if err := n.sees(len(nodes)); err != nil {
				return err
			}
		}
		return nil
	})
}

// memMirror is a mirror file in memory.
type memMirror struct {
	mu   sync.Mutex
	snap *store.Snapshot
}

// copy returns a mirror with the same content.
func (m *memMirror) copy() *memMirror {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memMirror{snap: m.snap}
}

func (m *memMirror) Load(context.Context) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snap, nil
}

func (m *memMirror) Append(_ context.Context, changes []muster.Change, epoch int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	base, err := config.New(m.snap.ClusterID, m.snap.Position, m.snap.Documents)
	if err != nil {
		return err
	}
	next, err := base.AtEpoch(epoch).Apply(changes)
	if err != nil {
		return err
	}
	m.snap = &store.Snapshot{ClusterID: next.Cluster(), Position: next.Position(), Documents: next.List("")}
	return nil
}

func (m *memMirror) Replace(_ context.Context, snap *store.Snapshot) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.snap = snap
	return nil
}

func (m *memMirror) Close() error { return nil }
