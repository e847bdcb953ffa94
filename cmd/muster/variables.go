package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/musterhq/muster"
)

// serviceVariable is what Kubernetes sets in every container for a Service that is
// called muster or muster-something.
var serviceVariable = regexp.MustCompile(`^MUSTER_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// strayVariables refuses variables that begin like ours and mean nothing. A warning
// would scroll away, and a node without the endpoint or cookie that it was meant to
// have forms a cluster of its own.
func (l *loader) strayVariables() {
	known := knownVariables()
	for _, pair := range l.app.env {
		name, _, _ := strings.Cut(pair, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		word := strings.ToLower(rest)
		if !ours || slices.Contains(known, word) && rest == strings.ToUpper(rest) || serviceVariable.MatchString(name) {
			continue
		}
		fault := muster.Errorf(muster.CodeBadConfig, "muster reads no variable %s", shown(name))
		if likely := nearest(word, known); likely != "" {
			fault = fault.WithFix("did you mean %s%s? otherwise unset it", envPrefix, strings.ToUpper(likely))
		} else {
			fault = fault.WithFix("unset it; muster serve --help lists the flags, and variables are named after them")
		}
		l.faults = append(l.faults, fault)
	}
}

// knownVariables lists all variables of muster in lower case, without the prefix.
func knownVariables() []string {
	known := []string{"addr", "token", "ca", "cert", "key", "tls_server_name"} // of the other commands
	for _, o := range options() {
		if o.flag != "" {
			known = append(known, strings.ToLower(strings.TrimPrefix(o.env(), envPrefix)))
		}
	}
	return known
}
