package config_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/config"
)

func TestCanonicalForms(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"keys are sorted", `{"b":1,"a":2}`, `{"a":2,"b":1}`},
		{"keys are sorted inside", `[{"b":{"d":1,"c":2},"a":[]}]`, `[{"a":[],"b":{"c":2,"d":1}}]`},
		{"keys are sorted by bytes", `{"é":1,"z":2,"Z":3,"":4}`, `{"":4,"Z":3,"z":2,"é":1}`},
		{"space goes", " {\t\"a\" :\r\n [ 1 , true , null ] } ", `{"a":[1,true,null]}`},
		{"numbers stay as written", `[1e2,1.0,1,-0,9007199254740993,0.10]`, `[1e2,1.0,1,-0,9007199254740993,0.10]`},
		{"escapes become text", `"\u0041\u00e9\ud83d\ude00\/"`, `"Aé😀/"`},
		{"few escapes remain", `"\"\\\b\f\n\r\t\u0001\u001f\u007f"`, `"\"\\\b\f\n\r\t\u0001\u001f` + "\x7f\""},
		{"no HTML escapes", `"<&>\u2028"`, "\"<&>\u2028\""},
		{"equal keys in two objects", `[{"a":1},{"a":1}]`, `[{"a":1},{"a":1}]`},
		{"scalars", ` true `, `true`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := config.Canonical([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tc.want {
				t.Errorf("got %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", config.MaxDepth) + strings.Repeat("]", config.MaxDepth)
	if _, err := config.Canonical([]byte(deep)); err != nil {
		t.Errorf("%d levels: %v", config.MaxDepth, err)
	}
	for _, tc := range []struct{ name, in, field string }{
		{"nothing", " ", ""},
		{"what is not JSON", `{"a":}`, "not JSON"},
		{"two values", `{} {}`, "not JSON"},
		{"a repeated key", `{"x":[{"a":1,"b":2,"a":3}]}`, "/x/0/a"},
		{"a key repeated by an escape", `{"a":1,"\u0061":2}`, "/a"},
		{"a NUL", `{"x":{"y":"a\u0000b"}}`, "/x/y"},
		{"a NUL in a key", `{"x":{"\u0000":1}}`, "/x"},
		{"half a surrogate pair", `["\ud800"]`, "/0"},
		{"two high surrogates", `["","\ud800\ud800"]`, "/1"},
		{"invalid UTF-8", "\"\xff\"", "UTF-8"},
		{"too many levels", "[" + deep + "]", "/0/0"},
		{"a number nobody can hold", `{"a/b":1e10000}`, "/a~1b"},
		{"a number of absurd length", `[` + strings.Repeat("1", 200) + `]`, "/0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := config.Canonical([]byte(tc.in))
			if muster.CodeOf(err) != muster.CodeBadDocument || !strings.Contains(err.Error(), tc.field) {
				t.Errorf("got %q, %v; want %s naming %s", got, err, muster.CodeBadDocument, tc.field)
			}
		})
	}
}

func TestCanonicalBoundsTheSize(t *testing.T) {
	t.Parallel()
	fits := `"` + strings.Repeat("x", muster.MaxSpec-2) + `"`
	if _, err := config.Canonical([]byte("  " + fits + "  ")); err != nil {
		t.Errorf("the largest specification: %v", err)
	}
	for _, in := range []string{strings.Replace(fits, "x", "xx", 1), strings.Repeat(" ", 5*muster.MaxSpec)} {
		if _, err := config.Canonical([]byte(in)); muster.CodeOf(err) != muster.CodeTooLarge {
			t.Errorf("%d bytes: got %v, want %s", len(in), err, muster.CodeTooLarge)
		}
	}
}

func TestCanonicalIgnoresTheOrderOfKeys(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		object := rapid.MapOfN(rapid.String(), rapid.Int64(), 0, 20).Draw(t, "object")
		for k := range object {
			if strings.ContainsRune(k, 0) {
				delete(object, k)
			}
		}
		keys := make([]string, 0, len(object))
		for k := range object {
			keys = append(keys, k)
		}
		first := canonicalInOrder(t, object, rapid.Permutation(keys).Draw(t, "order"))
		second := canonicalInOrder(t, object, rapid.Permutation(keys).Draw(t, "other order"))
		if !bytes.Equal(first, second) {
			t.Fatalf("got %s and %s", first, second)
		}
	})
}

func canonicalInOrder(t *rapid.T, object map[string]int64, keys []string) []byte {
	var members []string
	for _, k := range keys {
		key, _ := json.Marshal(k)
		value, _ := json.Marshal(object[k])
		members = append(members, string(key)+": "+string(value))
	}
	out, err := config.Canonical([]byte("{" + strings.Join(members, " , ") + "}"))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"b":[1,2.0,{"a":"\u00e9\n"}],"a":null}`, `"\ud83d\ude00"`, `[1e5,-0]`, `{"a":1,"a":2}`, "[", "\"\x00\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		out, err := config.Canonical(raw)
		if err != nil {
			if code := muster.CodeOf(err); code != muster.CodeBadDocument && code != muster.CodeTooLarge {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again, err := config.Canonical(out)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("the canonical form of %s is %s, %v", out, again, err)
		}
		if before, after := decode(t, raw), decode(t, out); !reflect.DeepEqual(before, after) {
			t.Fatalf("%s became %s", raw, out)
		}
	})
}

func decode(t *testing.T, raw []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("decode %s: %v", raw, err)
	}
	return v
}
