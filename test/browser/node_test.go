package browser_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/musterhq/muster/test/browser/fake"
)

// node is what the tests know of the node behind the page. Everything that they
// ask of it goes through HTTP, so that a real cluster can stand in for the
// made-up one: this file is the only place that starts nodes.
type node struct {
	base    string   // the URL of the node, without a slash at the end
	token   string   // of an operator who may write
	code    string   // a login code that was not used yet
	members []string // the names of the members
	stop    func()   // ends the node at once, open connections too
}

// ui is the address of a page of the dashboard.
func (n node) ui(hash string) string { return n.base + "/ui/" + hash }

// put writes a document through the API.
func (n node) put(t *testing.T, key, spec string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, n.base+"/v1/config/"+key+"?reason=test", strings.NewReader(spec))
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	r.Header.Set("Authorization", "Bearer "+n.token)
	r.Header.Set("If-None-Match", "*")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("put %s: got %s, want 201", key, res.Status)
	}
}

// cluster starts a cluster of three that is well, under the path prefix /plane.
func cluster(t *testing.T) node {
	n, _ := pretend(t, fake.Healthy())
	return n
}

// pretend serves a made-up world. The returned node changes it.
func pretend(t *testing.T, world *fake.World) (node, *fake.Node) {
	t.Helper()
	const prefix = "/plane"
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
	return node{base: server.URL + prefix, token: fake.Token, code: fake.Code, members: names, stop: stop}, behind
}
