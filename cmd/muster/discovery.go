package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// discoveryStore is the method that reads the member table of the config store.
const discoveryStore = "store"

// discoveries splits several methods in one value at white space, since commas
// belong to the methods.
func discoveries(value string) []string { return strings.Fields(value) }

// discovery checks the spelling of one method.
func discovery(value string) error {
	if value == discoveryStore {
		return nil
	}
	scheme, rest, ok := strings.Cut(value, "://")
	switch {
	case ok && scheme == "static":
		return staticHosts(rest)
	case slices.Contains(laterMethods(), scheme):
		return fmt.Errorf("the method %q is not supported by this version; static and store are", scheme)
	}
	text := fmt.Sprintf("%q is no discovery method; static://host:port,host:port and store are", shown(scheme))
	if near := nearest(scheme, []string{"static", discoveryStore}); near != "" {
		text += fmt.Sprintf("; did you mean %s?", near)
	}
	return errors.New(text)
}

// laterMethods are the methods that other versions of muster know.
func laterMethods() []string {
	return []string{"kubernetes", "consul", "etcd", "dns", "dns-srv", "dns-txt", "udp", "mdns", "file", "exec"}
}

func staticHosts(rest string) error {
	hosts := commas(rest)
	if len(hosts) == 0 {
		return errors.New("static:// lists no host:port")
	}
	var faults []error
	for _, host := range hosts {
		if err := hostPort(host); err != nil {
			faults = append(faults, fmt.Errorf("static://: %w", err))
		}
	}
	return errors.Join(faults...)
}
