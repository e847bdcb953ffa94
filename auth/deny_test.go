package auth_test

import (
	"maps"
	"testing"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

func TestDenialFitsAllItsFields(t *testing.T) {
	t.Parallel()
	noon := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	ada := auth.Claims{ID: "t-1", Subject: "ada", Issued: noon}
	session := auth.Claims{ID: "s-1", Parent: "t-1", Subject: "ada", Issued: noon.Add(time.Hour), ParentIssued: noon, Session: true}
	for _, c := range []struct {
		denial          auth.Denial
		token, sessions bool
	}{
		{auth.Denial{}, false, false},
		{auth.Denial{ID: "t-1"}, true, true},
		{auth.Denial{ID: "s-1"}, false, true},
		{auth.Denial{ID: "t"}, false, false},
		{auth.Denial{Subject: "ada"}, true, true},
		{auth.Denial{Subject: "Ada"}, false, false},
		{auth.Denial{IssuedBefore: noon}, false, false},
		{auth.Denial{IssuedBefore: noon.Add(time.Second)}, true, true}, // a session is as old as its token
		{auth.Denial{Subject: "eve", IssuedBefore: noon.Add(time.Hour)}, false, false},
		{auth.Denial{ID: "t-1", Subject: "eve"}, false, false},
		{auth.Denial{ID: "t-1", Subject: "ada", IssuedBefore: noon.Add(time.Hour)}, true, true},
	} {
		if c.denial.Denies(ada) != c.token || c.denial.Denies(session) != c.sessions {
			t.Errorf("%+v: token denied %t, session %t", c.denial, c.denial.Denies(ada), c.denial.Denies(session))
		}
	}
	if !(auth.Denial{IssuedBefore: noon}).Denies(auth.Claims{ID: "x", Subject: "x"}) {
		t.Error("a token of unknown age survives a denial by age")
	}
	list := map[string]*auth.Denial{"other": {Subject: "eve"}, "sub-ada": {Subject: "ada"}}
	wantRefusal(t, auth.Denied(ada, maps.All(list)), muster.CodeUnauthenticated, "token-deny/sub-ada")
}

func TestDenialDocumentsAreReadStrictly(t *testing.T) {
	t.Parallel()
	for spec, says := range map[string]string{
		`{}`:                            "names no token",
		`{"jti":""}`:                    "names no token",
		`null`:                          "names no token",
		`[]`:                            "wants",
		`{"subject":"a"}`:               "subject",
		`{"sub":7}`:                     "wants",
		`{"sub":"a\u001b"}`:             "sub",
		`{"issued_before":"yesterday"}`: "RFC 3339",
		`{"issued_before":"2999-01-01T00:00:00Z"}`: "future",
	} {
		_, err := auth.ParseDenial([]byte(spec))
		wantRefusal(t, err, muster.CodeBadDocument, says)
	}
	d, err := auth.ParseDenial([]byte(`{"issued_before":"2020-01-01T00:00:00Z","jti":"1","sub":"ada"}`))
	if err != nil || d.ID != "1" || d.Subject != "ada" || d.IssuedBefore.Year() != 2020 {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestDenialNamesAreNamesOfDocuments(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, d := range []auth.Denial{
		{ID: "8959955c-b4b6-4a4b-9839-46797f539b82"}, {ID: "a b"}, {Subject: "grafana"}, {Subject: "ada@example.com"}, {Subject: "grafana", ID: "x"},
		{IssuedBefore: time.Unix(1, 0)}, {IssuedBefore: time.Unix(2, 0)},
	} {
		name := d.Name()
		if muster.CheckName(name) != nil || seen[name] || name != d.Name() {
			t.Errorf("%+v: name %q", d, name)
		}
		seen[name] = true
	}
}

func TestSessionRemembersTheAgeOfItsToken(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	logins := auth.NewLogins(func() auth.Ring { return ring })
	made := time.Now().Add(-time.Hour).Truncate(time.Second)
	session, err := logins.Redeem(logins.Code(auth.Claims{Subject: "ada", ID: "t-1", Role: auth.RoleAdmin, Issued: made}).Reveal(), true)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := ring.Verify(session.Token.Reveal())
	if err != nil || !claims.ParentIssued.Equal(made) || !(auth.Denial{IssuedBefore: made.Add(time.Second)}).Denies(claims) {
		t.Errorf("got %+v, %v; want the session to be as old as its token", claims, err)
	}
}
