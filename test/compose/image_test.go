package compose_test

import (
	"debug/elf"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one line of a Dockerfile.
type instruction struct{ word, rest string }

// stage returns the instructions of the last stage, with FROM.
func stage(t *testing.T) []instruction {
	t.Helper()
	var all []instruction
	for line := range strings.Lines(strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "" || strings.HasPrefix(word, "#") {
			continue
		}
		if word == "FROM" {
			all = nil
		}
		all = append(all, instruction{word, strings.TrimSpace(rest)})
	}
	return all
}

// argument returns what follows an instruction of the last stage.
func argument(t *testing.T, word string) string {
	t.Helper()
	all := stage(t)
	i := slices.IndexFunc(all, func(in instruction) bool { return in.word == word })
	if i < 0 {
		t.Fatalf("the last stage of the Dockerfile has no %s", word)
	}
	return all[i].rest
}

// words returns the exec form of an instruction.
func words(t *testing.T, word string) []string {
	t.Helper()
	var list []string
	if err := json.Unmarshal([]byte(argument(t, word)), &list); err != nil {
		t.Fatalf("%s is not in exec form: %v", word, err)
	}
	return list
}

func TestImageIsEmptyButForTheBinaryAndNotRoot(t *testing.T) {
	t.Parallel()
	if got := argument(t, "FROM"); got != "scratch" {
		t.Errorf("the image is made from %q, want scratch", got)
	}
	if got := argument(t, "USER"); !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(got) {
		t.Errorf("USER is %q; Kubernetes' runAsNonRoot wants numbers above 0", got)
	}
	if got := words(t, "ENTRYPOINT"); !slices.Equal(got, []string{"/muster"}) {
		t.Errorf("ENTRYPOINT is %v", got)
	}
	for _, in := range stage(t) {
		if in.word == "COPY" && !strings.Contains(in.rest, "--from=build") {
			t.Errorf("COPY %s takes a file from the source tree", in.rest)
		}
	}
}

func TestImageStartsWithFlagsThatExist(t *testing.T) {
	t.Parallel()
	cmd := words(t, "CMD")
	if cmd[0] != "serve" {
		t.Fatalf("the image runs %v", cmd)
	}
	known := flags(t, "serve")
	for _, word := range cmd {
		if strings.HasPrefix(word, "--") && !slices.Contains(known, word) {
			t.Errorf("muster serve has no flag %s", word)
		}
	}
}

func TestImageIsBuiltWithTheGoThatTheModuleWants(t *testing.T) {
	t.Parallel()
	image := regexp.MustCompile(`(?m)^FROM golang:(\d+\.\d+)\S* AS build$`).FindStringSubmatch(read(t, "Dockerfile"))
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if image == nil || wanted == nil || image[1] != wanted[1] {
		t.Errorf("the Dockerfile builds with Go %v, go.mod wants %v", image, wanted)
	}
}

// TestBinaryIsStatic: an empty image has no loader and no libraries.
func TestBinaryIsStatic(t *testing.T) {
	t.Parallel()
	file, err := elf.Open(binary.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the binary needs the libraries %v (%v)", libraries, err)
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary asks for a dynamic loader")
		}
	}
}
