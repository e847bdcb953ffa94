package auth_test

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/auth"
)

const canary = "canary-Zq8fJ2mXw5Lk9vTr3Hs7Bn4Pd6Gc1Y"

// holder has the secret where fmt reads by reflection and calls no method.
type holder struct {
	Public auth.Secret
	hidden auth.Secret
	cookie auth.Cookie
	ring   auth.Ring
}

func newHolder(t *testing.T) holder {
	cookie := parse(t, canary)
	return holder{Public: auth.NewSecret(canary), hidden: auth.NewSecret(canary), cookie: cookie, ring: auth.Ring{cookie}}
}

func TestSecretNeverShowsInAnyVerb(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%t", "%10.3s"} {
		for _, value := range []any{h, &h, h.Public, &h.Public, h.cookie, h.ring, []auth.Secret{h.hidden}, map[string]any{"k": h}} {
			out := fmt.Sprintf(verb, value)
			if holdsCanary(out) {
				t.Errorf("%s of %T shows the secret: %s", verb, value, out)
			}
		}
	}
}

func TestSecretNeverShowsInEncodings(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	for _, value := range []any{h, h.Public, h.cookie, h.ring, map[string]auth.Secret{"k": h.Public}} {
		out, err := json.Marshal(value)
		if err != nil {
			t.Errorf("marshal %T: %v", value, err)
		}
		if holdsCanary(string(out)) {
			t.Errorf("JSON of %T shows the secret: %s", value, out)
		}
	}
	for _, value := range []encoding.TextMarshaler{h.Public, h.cookie} {
		if out, err := value.MarshalText(); err != nil || holdsCanary(string(out)) {
			t.Errorf("text of %T: %s, %v", value, out, err)
		}
	}
}

func TestSecretNeverShowsInLogs(t *testing.T) {
	t.Parallel()
	h := newHolder(t)
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("canary", "secret", h.Public, "pointer", &h.Public, "holder", h, "cookie", h.cookie, "ring", h.ring)
	}
	if holdsCanary(out.String()) {
		t.Errorf("the log shows the secret: %s", out.String())
	}
	if !strings.Contains(out.String(), "[redacted]") || !strings.Contains(out.String(), h.cookie.KID()) {
		t.Errorf("the log shows neither the redaction nor the key id: %s", out.String())
	}
}

func TestSecretNeverShowsInErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	weak := filepath.Join(dir, "weak")
	for path, text := range map[string]string{open: canary, weak: canary[:20]} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := auth.LoadCookies([]string{open, weak}, nil)
	if err == nil {
		t.Fatal("an open and a weak cookie file were accepted")
	}
	if holdsCanary(fmt.Sprintf("%v %+v %#v", err, err, err)) {
		t.Errorf("the error shows the secret: %v", err)
	}
	_, err = parseRing(t, canary).Verify(canary)
	if err == nil || holdsCanary(err.Error()) {
		t.Errorf("the error of a bad token is nil or shows it: %v", err)
	}
}

func TestSecretComparesByText(t *testing.T) {
	t.Parallel()
	a, b := auth.NewSecret("one"), auth.NewSecret("one")
	if !a.Equal(b) || a.Equal(auth.NewSecret("two")) || a.Equal(auth.Secret{}) {
		t.Error("secrets compare wrongly")
	}
	if !(auth.Secret{}).Empty() || a.Empty() || a.Reveal() != "one" {
		t.Error("a secret does not give back its text")
	}
}

// holdsCanary looks for a piece of the canary, plain or as hexadecimal.
func holdsCanary(out string) bool {
	piece := canary[7:19]
	return strings.Contains(out, piece) || strings.Contains(strings.ToLower(out), fmt.Sprintf("%x", piece))
}

func parseRing(t *testing.T, text string) auth.Ring {
	t.Helper()
	return auth.Ring{parse(t, text)}
}
