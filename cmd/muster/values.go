package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster"
	"github.com/musterhq/muster/auth"
)

// apply reads the values of one option into the settings. Its error says in
// plain English what is wrong with which value; the caller names the option.
type apply func(*settings, []string) error

// check says what is wrong with a value.
type check func(string) error

func text[T ~string](field func(*settings) *T, ok check) apply {
	return func(s *settings, values []string) error {
		value := values[len(values)-1]
		if err := ok(value); err != nil {
			return err
		}
		*field(s) = T(value)
		return nil
	}
}

func list(field func(*settings) *[]string, ok check) apply {
	return func(s *settings, values []string) error {
		var faults []error
		for _, value := range values {
			faults = append(faults, ok(value))
		}
		*field(s) = values
		return errors.Join(faults...)
	}
}

func hidden(field func(*settings) *auth.Secret) apply {
	return func(s *settings, values []string) error {
		*field(s) = auth.NewSecret(values[len(values)-1])
		return nil
	}
}

func number(field func(*settings) *int, least, most int) apply {
	return func(s *settings, values []string) error {
		value := values[len(values)-1]
		n, err := strconv.Atoi(value)
		if err != nil || n < least || n > most {
			return fmt.Errorf("%q is no whole number from %d to %d", shown(value), least, most)
		}
		*field(s) = n
		return nil
	}
}

func boolean(set func(*settings, bool)) apply {
	return func(s *settings, values []string) error {
		value := values[len(values)-1]
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", shown(value))
		}
		set(s, on)
		return nil
	}
}

func storePart(field func(*database) *string, ok check) apply {
	return given(text(func(s *settings) *string { return field(&s.database) }, ok))
}

// given notes that the config_store section says something.
func given(inner apply) apply {
	return func(s *settings, values []string) error {
		s.database.given = true
		return inner(s, values)
	}
}

func oneOf(words ...string) check {
	return func(value string) error {
		if slices.Contains(words, value) {
			return nil
		}
		text := fmt.Sprintf("%q is none of %s", shown(value), strings.Join(words, ", "))
		if near := nearest(value, words); near != "" {
			text += fmt.Sprintf("; did you mean %s?", near)
		}
		return errors.New(text)
	}
}

func notEmpty(value string) error {
	if value == "" {
		return errors.New("the value is empty")
	}
	return nil
}

// place checks a region or zone, which travel in small gossip messages.
func place(value string) error {
	if len(value) > 32 {
		return fmt.Errorf("%q is longer than 32 characters", shown(value))
	}
	return muster.CheckName(value)
}

func port(value string) error {
	if n, err := strconv.Atoi(value); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q is no port from 1 to 65535", shown(value))
	}
	return nil
}

func hostPort(value string) error {
	host, number, err := net.SplitHostPort(value)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT, as in 127.0.0.1:%d or 0.0.0.0:%d", shown(value), muster.DefaultPort, muster.DefaultPort)
	}
	if number != "0" {
		if err := port(number); err != nil {
			return err
		}
	}
	if host == "" {
		return nil
	}
	return hostName(host)
}

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?$`)

func hostName(value string) error {
	if _, err := netip.ParseAddr(value); err == nil || hostPattern.MatchString(value) {
		return nil
	}
	return fmt.Errorf("%q is neither a host name nor an IP address", shown(value))
}

func advertisable(value string) error {
	switch {
	case value == "none", strings.Contains(value, "{{"):
		return nil
	case strings.Contains(value, "://"):
		_, err := endpoint(value)
		return err
	case hostName(value) == nil, hostPort(value) == nil:
		return nil
	}
	return fmt.Errorf("%q is no URL, host:port, go-sockaddr template, or none", shown(value))
}

func pathPrefix(value string) error {
	if value == "" || strings.HasPrefix(value, "/") && path.Clean(value) == value && value != "/" && url.PathEscape(path.Base(value)) == path.Base(value) {
		return nil
	}
	return fmt.Errorf("%q is no path prefix such as /muster: it starts with a slash and ends without one", shown(value))
}

// endpoint makes a URL of an address to join. A bare host gets the scheme http
// and the default port; secureEndpoints corrects the scheme.
func endpoint(value string) (string, error) {
	full := value
	if !strings.Contains(value, "://") {
		if hostName(value) == nil {
			value = net.JoinHostPort(value, strconv.Itoa(muster.DefaultPort))
		}
		full = "http://" + value
	}
	u, err := url.Parse(full)
	switch {
	case err != nil:
		return "", errors.New("the value is no URL such as http://10.0.0.1:9113")
	case u.User != nil:
		return "", fmt.Errorf("the URL of %q holds a user or password; the cookie proves who joins", shown(u.Host))
	case u.Scheme != "http" && u.Scheme != "https":
		return "", fmt.Errorf("%q has the scheme %q; want http or https", shown(value), shown(u.Scheme))
	case u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("the URL of %q has a query or fragment", shown(u.Host))
	case hostName(u.Hostname()) != nil || u.Port() != "" && port(u.Port()) != nil:
		return "", fmt.Errorf("%q names no host and port", shown(value))
	}
	return strings.TrimSuffix(full, "/"), nil
}

func endpoints(s *settings, values []string) error {
	var faults []error
	for _, value := range values {
		full, err := endpoint(value)
		if !strings.Contains(value, "://") {
			s.bareEndpoints = append(s.bareEndpoints, len(s.JoinEndpoints))
		}
		s.JoinEndpoints = append(s.JoinEndpoints, full)
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// prefixes reads address ranges.
func prefixes(field func(*settings) *[]netip.Prefix) apply {
	return func(s *settings, values []string) error {
		var faults []error
		for _, value := range values {
			prefix, err := netip.ParsePrefix(value)
			if err != nil || prefix.Addr().Is4In6() {
				faults = append(faults, fmt.Errorf("%q is no address range such as 10.0.0.0/8", shown(value)))
			}
			*field(s) = append(*field(s), prefix.Masked())
		}
		return errors.Join(faults...)
	}
}

func tags(s *settings, values []string) error {
	var faults []error
	s.Tags = map[string]string{}
	for _, value := range values {
		key, label, ok := strings.Cut(value, "=")
		if _, twice := s.Tags[key]; twice {
			faults = append(faults, fmt.Errorf("tag %q is given twice", shown(key)))
		}
		if !ok || muster.CheckName(key) != nil || len(label) > 63 || muster.Printable(label) != label {
			faults = append(faults, fmt.Errorf("%q is not KEY=VALUE with a name as key and up to 63 printable characters as value", shown(value)))
		}
		s.Tags[key] = label
	}
	return errors.Join(faults...)
}

func drainDelay(s *settings, values []string) error {
	d, err := parseDuration(values[len(values)-1])
	if err == nil && d > time.Hour {
		err = fmt.Errorf("%s is longer than an hour", d)
	}
	s.DrainDelay = d
	return err
}

// shortestReap keeps a slow restart from costing a member its place on the list.
const shortestReap = time.Minute

// reapAge reads how old a member that is gone may become.
func reapAge(field func(*settings) *time.Duration) apply {
	return func(s *settings, values []string) error {
		d, err := parseDuration(values[len(values)-1])
		if err == nil && d != 0 && d < shortestReap {
			err = fmt.Errorf("%s is shorter than %s, which a restart may take; 0 = never", d, shortestReap)
		}
		*field(s) = d
		return err
	}
}

// parseDuration reads a duration of Go, or whole days: 30d.
func parseDuration(value string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(value, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 && n <= 100_000 {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	}
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration such as 500ms, 10s, 5m or 30d", shown(value))
	}
	return d, nil
}

func logLevel(s *settings, values []string) error {
	value := values[len(values)-1]
	if err := oneOf("debug", "info", "warn", "error")(value); err != nil {
		return err
	}
	return s.LogLevel.UnmarshalText([]byte(value))
}

// commas splits a list that stands in one value.
func commas(value string) []string {
	var parts []string
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// shown makes a value fit to stand in a message.
func shown(value string) string { return muster.Printable(value) }
