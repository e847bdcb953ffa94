package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/musterhq/muster"
)

// flagText is a flag as it was given. Values are read later, together with those
// of the environment and the file, so that all faults are found in one run.
type flagText struct {
	option option
	texts  []string
}

// String returns the default; help texts show it.
func (f *flagText) String() string {
	if f.option.hint == "" && f.option.preset == "" {
		return "false"
	}
	return f.option.preset
}

// Type names the value in help texts.
func (f *flagText) Type() string {
	if f.option.hint == "" {
		return "bool"
	}
	return f.option.hint
}

// Set keeps a value.
func (f *flagText) Set(text string) error {
	f.texts = append(f.texts, text)
	return nil
}

// addFlags registers the flags of the options and returns them by option name.
func addFlags(flags *pflag.FlagSet, all []option) map[string]*flagText {
	given := map[string]*flagText{}
	for _, o := range all {
		if o.flag == "" {
			continue
		}
		f := &flagText{option: o}
		given[o.name()] = f
		for _, name := range []string{o.flag, o.alias} {
			if name == "" {
				continue
			}
			registered := flags.VarPF(f, name, "", o.usage)
			registered.Hidden = name == o.alias
			if o.hint == "" {
				registered.NoOptDefVal = "true"
			}
		}
	}
	return given
}

// found is what one place says about an option.
type found struct {
	texts []string
	key   string // of the file
	place string // for messages: a variable, or a position in a file; empty: the flag
	code  muster.Code
}

// of names an option together with the place that its value came from.
func (f found) of(o option) string {
	switch {
	case f.place == "":
		return o.name()
	case f.key == "" || f.key == o.name():
		return fmt.Sprintf("%s (%s)", o.name(), f.place)
	}
	return fmt.Sprintf("%s (%s in %s)", o.name(), f.key, f.place)
}

// loader reads settings from flags, environment, file and defaults; the first of
// them that names an option decides.
type loader struct {
	app      *app
	flags    map[string]*flagText
	file     map[string]found // by key
	settings settings
	warnings []string
	faults   []error
	from     map[string]bool // options that were given somewhere
}

// load returns the settings, or every fault.
func (a *app) load(flags map[string]*flagText) (settings, []string, error) {
	l := &loader{app: a, flags: flags, from: map[string]bool{}}
	l.readFile()
	for _, o := range options() {
		l.take(o)
	}
	l.strayVariables()
	if len(l.faults) == 0 {
		l.finish()
	}
	return l.settings, l.warnings, errors.Join(l.faults...)
}

func (l *loader) readFile() {
	path := l.app.getenv(envPrefix + "CONFIG")
	if texts := l.flags["--config"].texts; len(texts) > 0 {
		path = texts[len(texts)-1]
	}
	if path == "" {
		return
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		l.fault(muster.CodeBadConfig, "read the configuration file: %w", err)
		return
	}
	var faults []error
	l.file, faults = parseFile(path, raw)
	l.faults = append(l.faults, faults...)
}

// take reads one option from the first place that names it.
func (l *loader) take(o option) {
	value, ok := l.look(o)
	if !ok {
		return
	}
	var texts []string
	for _, text := range value.texts {
		expanded, err := l.expand(text)
		if err != nil {
			l.blame(o, value, err)
			return
		}
		if o.split != nil && (value.place == "" || len(value.texts) == 1) {
			texts = append(texts, o.split(expanded)...)
			continue
		}
		texts = append(texts, expanded)
	}
	if len(texts) == 0 {
		if o.fence {
			l.blame(o, value, errors.New("the list is empty"))
		}
		return
	}
	l.warnOfSecrets(o, value)
	if err := o.apply(&l.settings, texts); err != nil {
		for _, one := range flatten(err) {
			l.blame(o, value, one)
		}
	}
}

func (l *loader) look(o option) (found, bool) {
	if f := l.flags[o.name()]; f != nil && len(f.texts) > 0 {
		l.from[o.name()] = true
		return found{texts: f.texts, code: muster.CodeUsage}, true
	}
	if text := l.app.getenv(o.env()); o.flag != "" && text != "" {
		l.from[o.name()] = true
		return found{texts: []string{text}, place: o.env(), code: muster.CodeBadConfig}, true
	}
	if value, ok := l.fromFile(o); ok {
		l.from[o.name()] = true
		return value, true
	}
	if o.preset == "" {
		return found{}, false
	}
	return found{texts: []string{o.preset}, place: "default", code: muster.CodeBadConfig}, true
}

func (l *loader) fromFile(o option) (found, bool) {
	var (
		value found
		first string
	)
	for _, key := range o.keys {
		here, ok := l.file[key]
		if !ok {
			continue
		}
		if first != "" {
			l.fault(muster.CodeBadConfig, "%s and %s mean the same: keep one (%s)", first, key, here.place)
			continue
		}
		value, first = here, key
	}
	return value, first != "" && (len(value.texts) > 0 || o.fence)
}

// blame adds a fault that names the option and where its value came from.
func (l *loader) blame(o option, value found, err error) {
	l.fault(value.code, "%s: %w", value.of(o), err)
}

func (l *loader) fault(code muster.Code, format string, args ...any) {
	l.faults = append(l.faults, muster.Errorf(code, format, args...))
}

func (l *loader) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

// warnOfSecrets says when a secret stands where others may read it.
func (l *loader) warnOfSecrets(o option, value found) {
	literal := !strings.ContainsAny(strings.Join(value.texts, ""), "$") && !strings.HasPrefix(value.texts[0], "file:")
	switch {
	case o.flag == "cluster-cookie":
		l.warn("%s: others on this machine may see the secret; use --cluster-cookie-file", value.of(o))
	case o.name() == "config_store.config.password" && literal:
		l.warn("%s: prefer password_file", value.of(o))
	case o.flag == "config-store" && literal && value.place == "" && hasPassword(value.texts[0]):
		l.warn("%s: others on this machine may see the password; use --config-store file:PATH", o.name())
	}
}

var variablePattern = regexp.MustCompile(`\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// maxValueFile bounds what file: reads, in bytes.
const maxValueFile = 64 << 10

// expand replaces ${NAME} by a variable of the environment ($${NAME} stands for
// itself), and a value file:PATH by the content of that file.
func (l *loader) expand(text string) (string, error) {
	var missing error
	expanded := variablePattern.ReplaceAllStringFunc(text, func(match string) string {
		if strings.HasPrefix(match, "$$") {
			return match[1:]
		}
		name := match[2 : len(match)-1]
		value := l.app.getenv(name)
		if value == "" {
			missing = fmt.Errorf("the variable %s is empty or not set", name)
		}
		return value
	})
	if missing != nil {
		return "", missing
	}
	path, ok := strings.CutPrefix(expanded, "file:")
	if !ok || !strings.HasPrefix(text, "file:") || strings.HasPrefix(path, "//") {
		return expanded, nil
	}
	return readValue(path)
}

func readValue(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(file, maxValueFile+1))
	if err != nil {
		return "", err
	}
	if len(raw) > maxValueFile {
		return "", fmt.Errorf("%s is larger than %d bytes", path, maxValueFile)
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

func hasPassword(value string) bool {
	_, rest, ok := strings.Cut(value, "://")
	userinfo, _, at := strings.Cut(rest, "@")
	return ok && at && strings.Contains(userinfo, ":")
}
