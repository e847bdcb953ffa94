package browser_test

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/musterhq/muster/internal/program"
	"github.com/musterhq/muster/test/browser/fake"
)

// prefix is the path below which nodes serve, so that no page takes it for given
// that there is none.
const prefix = "/plane"

// binary is the program under test.
var binary *program.Program

func TestMain(m *testing.M) { os.Exit(program.Main(m, "../..", &binary)) }

// node is what the tests know of the node behind the page. Everything that they
// ask of it goes through HTTP, so that it may be real or made up: this file is the
// only place that starts nodes.
type node struct {
	program.Caller
	code    string   // a login code that was not used yet
	members []string // the names of the members
	stop    func()   // ends the node at once, open connections too
	lose    func()   // ends another real node, the last member
}

// ui is the address of a page of the dashboard.
func (n node) ui(hash string) string { return n.Base + "/ui/" + hash }

// put writes a document through the API.
func (n node) put(t *testing.T, key, spec string) {
	t.Helper()
	if err := n.Put(t, key, spec); err != nil {
		t.Fatal(err)
	}
}

// cluster starts three real nodes that join in a chain, with some configuration.
func cluster(t *testing.T) node {
	t.Helper()
	dir := t.TempDir()
	cookie := filepath.Join(dir, "cookie")
	binary.Must(t, "cookie", "new", "--out", cookie)
	token := binary.Must(t, "token", "create", "--role", "admin", "--subject", "ops@anna", "--cluster-cookie-file", cookie)
	var (
		first    node
		previous string
	)
	for i := range 3 {
		name, addr := "edge-"+strconv.Itoa(i+1), program.Address(t)
		args := []string{"serve", "--data-dir", filepath.Join(dir, name), "--mgmt-bind", addr, "--mgmt-path-prefix", prefix,
			"--cluster-name", "prod-eu", "--cluster-node-name", name, "--cluster-cookie-file", cookie, "--region", "eu-central", "--zone", string(rune('a' + i))}
		if i > 0 {
			args = append(args, "--cluster-join-endpoint", previous)
		}
		process := binary.Start(t, nil, args...)
		previous = "http://" + addr + prefix
		if i == 0 {
			first.Caller, first.stop = program.Caller{Base: previous, Token: token}, process.Kill
		}
		first.lose = process.Kill
		first.members = append(first.members, name)
	}
	program.Await(t, patience, func() error { return first.Healthy(t, 3) })
	first.put(t, "route/checkout", `{"backends":["edge-1","edge-2","edge-3"],"timeout":"2.50s","weight":90}`)
	first.put(t, "route/search", `{"backends":["edge-2","edge-3"],"timeout":"800ms","weight":100}`)
	first.put(t, "flag/new-basket", `{"enabled":true,"percent":25,"salt":9007199254740993}`)
	program.Await(t, patience, func() error { return first.Healthy(t, 3) })
	first.code = first.LoginCode(t)
	return first
}

// pretend serves a made-up world. The returned node changes it.
func pretend(t *testing.T, world *fake.World) (node, *fake.Node) {
	t.Helper()
	behind := fake.New(world, prefix)
	server := httptest.NewServer(behind)
	stop := func() {
		server.Listener.Close()
		server.CloseClientConnections()
	}
	t.Cleanup(func() { stop(); server.Close() })
	var names []string
	for _, m := range world.Members {
		names = append(names, m.Name)
	}
	return node{Caller: program.Caller{Base: server.URL + prefix, Token: fake.Token}, code: fake.Code, members: names, stop: stop}, behind
}
