package e2e_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster"
)

// as is the node asked with another token.
func (n *node) as(token string) *node {
	c, other := *n.c, *n
	c.token, other.c = token, &c
	return &other
}

// TestRevocationHoldsEverywhere: a token that one node revokes is refused by all,
// with the store down too, and a stream that was opened with it ends.
func TestRevocationHoldsEverywhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	home := c.node("home").up()
	other := c.node("other", "--cluster-join-endpoint", home.url()).up()
	all(t, 10*time.Second, home, other)
	lost := make([]string, 3)
	for i := range lost {
		_, out, _ := run(t, nil, "token", "create", "--role", "operator", "--subject", fmt.Sprintf("lost%d", i), "--cluster-cookie-file", c.cookie)
		lost[i] = strings.TrimSpace(out)
	}
	res, id, err := other.as(lost[0]).request(http.MethodGet, "/v1/session", "")
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("the token before it is revoked: %v %s", err, id)
	}
	jti := strings.Split(strings.SplitAfter(string(id), `"id":"`)[1], `"`)[0]
	ended := openStream(t, other.as(lost[0]))

	revoke := func(args ...string) {
		t.Helper()
		env := []string{"MUSTER_ADDR=" + home.url(), "MUSTER_TOKEN=" + c.token}
		if code, out, errs := run(t, env, append([]string{"token", "revoke", "--reason", "laptop lost"}, args...)...); code != 0 {
			t.Fatalf("token revoke %v: exit %d %s %s", args, code, out, errs)
		}
	}
	revoke(jti)
	revoke("--sub", "lost1")
	for i, want := range []int{401, 401, 200} {
		eventually(t, 2*time.Second, func() error { return answersWith(want, lost[i], home, other) })
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the stream of a revoked token goes on")
	}
	home.kill()
	for i, want := range []int{401, 401, 200} {
		if err := answersWith(want, lost[i], other); err != nil {
			t.Errorf("with the store down: %v", err)
		}
	}
	other.kill()
	other.up()
	eventually(t, 5*time.Second, func() error { return answersWith(401, lost[0], other) })
	_, list, _ := run(t, []string{"MUSTER_ADDR=" + other.url(), "MUSTER_TOKEN=" + c.token}, "token", "list")
	for _, want := range []string{jti, "lost1", "laptop lost"} {
		if !strings.Contains(list, want) {
			t.Errorf("token list lacks %q:\n%s", want, list)
		}
	}
}

// answersWith reports nil if all nodes answer a token with a status.
func answersWith(want int, token string, nodes ...*node) error {
	for _, n := range nodes {
		res, data, err := n.as(token).request(http.MethodGet, "/cluster/members", "")
		if err != nil {
			return err
		}
		if res.StatusCode != want || want == 401 && !strings.Contains(string(data), "revoked") {
			return fmt.Errorf("%s answers %s: %s, want %d", n.name, res.Status, data, want)
		}
	}
	return nil
}

// openStream opens a watch and returns a channel that is closed when it ends.
func openStream(t *testing.T, n *node) <-chan struct{} {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url()+"/v1/watch", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+n.c.token)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("open a stream: %v %v", res, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		}
		_ = res.Body.Close() // it has ended
	}()
	return ended
}

// TestOnlyAdministratorsRevoke: else an operator could take back what was revoked.
func TestOnlyAdministratorsRevoke(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.node("n1").up()
	all(t, 5*time.Second, n)
	operator := n.as(token(t, c.cookie, "operator"))
	if p, err := operator.problemOf(http.MethodPut, "/v1/config/token-deny/x", `{"sub":"eve"}`, "If-None-Match", "*"); err != nil || p.Code != muster.CodeForbidden {
		t.Errorf("an operator revokes: %+v %v", p, err)
	}
	if _, err := n.create("token-deny/x", `{"sub":"eve"}`); err != nil {
		t.Fatal(err)
	}
	if p, err := operator.problemOf(http.MethodDelete, "/v1/config/token-deny/x", "", "If-Match", "*"); err != nil || p.Code != muster.CodeForbidden {
		t.Errorf("an operator takes back a revocation: %+v %v", p, err)
	}
	if p, err := n.problemOf(http.MethodPut, "/v1/config/token-deny/y", `{"subject":"eve"}`, "If-None-Match", "*"); err != nil || p.Code != muster.CodeBadDocument {
		t.Errorf("a document that revokes nothing: %+v %v", p, err)
	}
}

// TestTokenOfAnotherClusterIsRefused: two clusters share a cookie, and the token
// is bound to the first.
func TestTokenOfAnotherClusterIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	here, there := c.node("here").up(), c.node("there").up()
	all(t, 5*time.Second, here)
	all(t, 5*time.Second, there)
	code, out, errs := run(t, nil, "token", "create", "--role", "viewer", "--cluster-id", string(here.mustStatus().ClusterID), "--cluster-cookie-file", c.cookie)
	if code != 0 {
		t.Fatalf("token create --cluster-id: exit %d %s", code, errs)
	}
	bound := strings.TrimSpace(out)
	for n, want := range map[*node]int{here: 200, there: 401} {
		if res, data, err := n.as(bound).request(http.MethodGet, "/cluster/members", ""); err != nil || res.StatusCode != want {
			t.Errorf("%s answers a token bound to here: %v %s, want %d", n.name, err, data, want)
		}
	}
}
