package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/discovery/static"
	"github.com/musterhq/muster/discovery/storetable"
)

// splitMethods parts several methods in one value at white space, since commas
// belong to the methods.
func splitMethods(value string) []string { return strings.Fields(value) }

// methods reads --discovery. The member table needs no source of its own: a node
// with a Postgres store reads it anyway.
func methods(s *settings, values []string) error {
	var faults []error
	for _, value := range values {
		switch scheme, _, _ := strings.Cut(value, "://"); {
		case value == storetable.Name:
			s.discoverStore = true
		case scheme == static.Name:
			source, err := static.Parse(value)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			s.Discovery = append(s.Discovery, source)
		default:
			faults = append(faults, noMethod(scheme))
		}
	}
	return errors.Join(faults...)
}

func noMethod(scheme string) error {
	if slices.Contains(laterMethods(), scheme) {
		return fmt.Errorf("the method %q is not supported by this version; static and store are", scheme)
	}
	text := fmt.Sprintf("%q is no discovery method; static://host:port,host:port and store are", shown(scheme))
	if near := nearest(scheme, []string{static.Name, storetable.Name}); near != "" {
		text += fmt.Sprintf("; did you mean %s?", near)
	}
	return errors.New(text)
}

// laterMethods are the methods that other versions of muster know.
func laterMethods() []string {
	return []string{"kubernetes", "consul", "etcd", "dns", "dns-srv", "dns-txt", "udp", "mdns", "file", "exec"}
}
