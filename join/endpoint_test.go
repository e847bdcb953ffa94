package join_test

import (
	"testing"

	"github.com/musterhq/muster/join"
)

func TestEndpointsHaveOneForm(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"host":                       "http://host:9113",
		"Host:80":                    "http://host:80",
		"http://host":                "http://host:80",
		"HTTPS://Host/":              "https://host:443",
		"https://host:9113/a/b/":     "https://host:9113/a/b",
		"[::1]:9113":                 "http://[::1]:9113",
		" http://10.0.0.1:9113 ":     "http://10.0.0.1:9113",
		"":                           "",
		"none":                       "http://none:9113",
		"ftp://host":                 "",
		"http://user:secret@host":    "",
		"http://host/?q=1":           "",
		"http://host:99999":          "",
		"http://host:0":              "",
		"http://[fe80::1%25eth0]:80": "",
		"http://":                    "",
		"http://ho st":               "",
	} {
		got, err := join.CleanEndpoint(raw)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", raw, got, err, want)
		}
	}
}

func FuzzCleanEndpointIsStable(f *testing.F) {
	for _, seed := range []string{"host", "https://h:1/%2F/..", "[::1]", "http://a@b", "http://h/ä"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := join.CleanEndpoint(raw)
		if err != nil {
			return
		}
		if twice, err := join.CleanEndpoint(once); err != nil || twice != once {
			t.Errorf("%q becomes %q, that becomes %q, %v", raw, once, twice, err)
		}
	})
}
