package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

func main() {
	log.SetFlags(log.Ltime)
	quick := flag.Bool("quick", false, "finish in less than a minute; the figures say less")
	part := flag.String("part", "all", "all, micro or cluster")
	members := flag.Int("members", 0, "measure clusters of this size only")
	only := flag.String("contender", "", "measure this one only: native, post, sealed or sealed+tls")
	profile := flag.String("cpuprofile", "", "write a CPU profile of the micro part of the sealed contender alone")
	flag.Parse()
	e := effortFor(*quick)
	if *members > 0 {
		e.sizes = []int{*members}
	}
	if err := run(e, options{*part, *only, *profile}); err != nil {
		log.Fatal(err)
	}
}

// options says what to measure.
type options struct{ part, contender, profile string }

func effortFor(quick bool) effort {
	if quick {
		return effort{
			rounds: 2, flow: 300 * time.Millisecond, pings: 2000, streams: 50, stuck: time.Second,
			sizes: []int{3}, idle: time.Second, load: time.Second, broadcasts: 4, kills: 1,
			detectionLimit: 3 * time.Second, skipTLSInCluster: true,
		}
	}
	return effort{
		rounds: 5, flow: time.Second, pings: 10_000, streams: 300, stuck: 4 * time.Second,
		sizes: []int{3, 20, 50}, idle: 4 * time.Second, load: 5 * time.Second, broadcasts: 20, kills: 2,
		detectionLimit: 8 * time.Second,
	}
}

func run(e effort, o options) error {
	all, err := contenders()
	if err != nil {
		return err
	}
	if o.profile != "" {
		return profileSealed(all[2], e, o.profile)
	}
	if o.contender != "" {
		all = slices.DeleteFunc(all, func(c contender) bool { return c.name != o.contender })
		if len(all) == 0 {
			return fmt.Errorf("no contender is called %q", o.contender)
		}
	}
	start := time.Now()
	fmt.Printf("%s, %d cores, %s; load average before: %s\n", runtime.Version(), runtime.GOMAXPROCS(0), runtime.GOOS, loadAverage())
	report := newReport(all)
	if o.part != "cluster" {
		if err := runMicro(all, e, report); err != nil {
			return err
		}
	}
	if o.part != "micro" {
		if err := runClusters(all, e, report); err != nil {
			report.print(os.Stdout) // what was measured before
			return err
		}
	}
	report.print(os.Stdout)
	fmt.Printf("\ntook %v; load average after: %s\n", time.Since(start).Round(time.Second), loadAverage())
	return nil
}

func runMicro(all []contender, e effort, report *report) error {
	for round := range e.rounds {
		for _, c := range all {
			log.Printf("round %d of %d: %s", round+1, e.rounds, c.name)
			if err := measureMicro(c, e, report.of(c.name, 0)); err != nil {
				return err
			}
		}
	}
	for _, c := range all {
		log.Printf("peer cut off: %s", c.name)
		if err := measureStuck(c, e, report.of(c.name, 0)); err != nil {
			return err
		}
	}
	return nil
}

func runClusters(all []contender, e effort, report *report) error {
	for _, n := range e.sizes {
		for _, c := range all {
			if e.skipTLSInCluster && c.name == nameTLS {
				continue
			}
			log.Printf("cluster of %d: %s", n, c.name)
			if err := measureCluster(c, n, e, report.of(c.name, n)); err != nil {
				return err
			}
			runtime.GC()
		}
	}
	return nil
}

func profileSealed(c contender, e effort, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	for range e.rounds {
		if err := measureMicro(c, e, result{}); err != nil {
			return err
		}
	}
	return nil
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
