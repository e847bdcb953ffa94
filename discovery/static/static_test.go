package static_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/musterhq/muster/discovery/static"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"static://10.0.0.1:9113,n2:80":       {"http://10.0.0.1:9113", "http://n2:80"},
		"static://n1":                        {"http://n1:9113"},
		"static://n1, n2?scheme=https":       {"https://n1:9113", "https://n2:9113"},
		"static://n1&scheme=https":           {"https://n1:9113"},
		"static://[::1]:1,[2001:db8::1],::1": {"http://[::1]:1", "http://[2001:db8::1]:9113", "http://[::1]:9113"},
		"static://":                          nil,
		"static://,":                         nil,
		"static://n1?schema=https":           nil,
		"static://n1?scheme=ftp":             nil,
		"static://n1:x":                      nil,
		"static://n1:70000":                  nil,
		"static://n1/path":                   nil,
		"dns://n1":                           nil,
	} {
		s, err := static.Parse(text)
		if (err == nil) != (want != nil) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
		if err != nil {
			continue
		}
		found, err := s.Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range found {
			got = append(got, c.Endpoint)
		}
		if diff := cmp.Diff(want, got); diff != "" || s.Len() != len(want) || s.Name() != "static" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}
