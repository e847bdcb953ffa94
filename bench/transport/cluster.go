package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	stagger    = 80 * time.Millisecond
	joinLimit  = 60 * time.Second
	spreadTime = 3 * time.Second // a message that takes longer is lost
)

// cluster is a number of members in this process.
type cluster struct {
	contender contender
	net       *network
	effort    effort
	members   []*member
	started   int
	messages  uint64
	result    result
}

// measureCluster measures one contender with n members.
func measureCluster(c contender, n int, e effort, r result) error {
	cl := &cluster{contender: c, net: newNetwork(), effort: e, result: r}
	defer cl.stop()
	if err := cl.form(n); err != nil {
		return fmt.Errorf("%s, %d members: %w", c.name, n, err)
	}
	cl.idle()
	cl.broadcast("broadcast", cl.gossip)
	cl.broadcast("direct push", cl.push)
	quiet := cl.falseDeaths()
	cl.load()
	r.add("false deaths under load", float64(cl.falseDeaths()-quiet))
	r.add("false deaths otherwise", float64(quiet))
	for range e.kills {
		if err := cl.lose("kill, s", func(m *member) { _ = m.list.Shutdown() }); err != nil {
			return err
		}
		if err := cl.lose("cut off, s", func(m *member) { cl.net.sever(m.ip) }); err != nil {
			return err
		}
	}
	return nil
}

// form starts n members and waits until all see all.
func (c *cluster) form(n int) error {
	var last time.Time
	for range n {
		time.Sleep(time.Until(last.Add(stagger)))
		last = time.Now()
		if err := c.grow(); err != nil {
			return err
		}
	}
	if !poll(joinLimit, func() bool { return c.complete(c.members) }) {
		return fmt.Errorf("not all members see one another after %v", joinLimit)
	}
	c.result.add("join, ms", ms(time.Since(last)))
	return nil
}

func (c *cluster) grow() error {
	m, err := startMember(c.contender, c.net, c.started)
	if err != nil {
		return err
	}
	c.started++
	c.members = append(c.members, m)
	if len(c.members) > 1 {
		_, err = m.list.Join([]string{c.members[0].endpoint.address})
	}
	return err
}

// complete reports whether everybody sees each of some members.
func (c *cluster) complete(some []*member) bool {
	for _, m := range c.members {
		for _, o := range some {
			if !m.sees(o.name) {
				return false
			}
		}
	}
	return true
}

func (c *cluster) stop() {
	var wg sync.WaitGroup
	for _, m := range c.members {
		wg.Go(func() { _ = m.list.Shutdown() })
	}
	wg.Wait()
}

func (c *cluster) idle() {
	time.Sleep(c.effort.idle / 2) // what joining leaves behind
	start := now()
	time.Sleep(c.effort.idle)
	wall, cpu, _, bytes := now().since(start)
	perNode := wall.Seconds() * float64(len(c.members))
	c.result.add("idle CPU, ms/s per node", ms(cpu)/perNode)
	c.result.add("idle garbage, KiB/s per node", bytes/1024/perNode)
}

// broadcast measures how long messages take to reach everybody.
func (c *cluster) broadcast(what string, send func(from *member, n uint64)) {
	var times []float64
	for i := range c.effort.broadcasts {
		c.messages++
		n, from := c.messages, c.members[i%len(c.members)]
		others := slices.DeleteFunc(slices.Clone(c.members), func(m *member) bool { return m == from })
		start := time.Now()
		send(from, n)
		poll(spreadTime, func() bool {
			return !slices.ContainsFunc(others, func(m *member) bool { _, ok := m.message(n); return !ok })
		})
		for _, m := range others {
			at, ok := m.message(n)
			if !ok {
				at = start.Add(spreadTime)
			}
			times = append(times, ms(at.Sub(start)))
		}
	}
	c.result.add(what+" p50, ms", median(times))
	c.result.add(what+" p99, ms", quantile(times, 0.99))
}

// gossip spreads a message by rumour.
func (c *cluster) gossip(from *member, n uint64) { from.NotifyMsg(encode(kindGossip, n)) }

// push sends a message to everybody.
func (c *cluster) push(from *member, n uint64) {
	for _, node := range from.list.Members() {
		if node.Name != from.name {
			_ = from.list.SendBestEffort(node, encode(kindDirect, n)) // the arrival is what is measured
		}
	}
}

// load keeps every core busy.
func (c *cluster) load() {
	ctx, cancel := context.WithTimeout(context.Background(), c.effort.load)
	defer cancel()
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for x := 1.0; ctx.Err() == nil; {
				for range 10_000 {
					x = math.Sqrt(x + 1)
				}
			}
		})
	}
	wg.Wait()
}

// falseDeaths counts who holds whom dead though nobody is.
func (c *cluster) falseDeaths() (n int) {
	for _, m := range c.members {
		m.mu.Lock()
		n += len(m.deaths)
		m.mu.Unlock()
	}
	return n
}

// lose takes the last member away and measures until all others have found it dead;
// +Inf when they do not. A new member takes its place.
func (c *cluster) lose(what string, how func(*member)) error {
	lost := c.members[len(c.members)-1]
	c.members = c.members[:len(c.members)-1]
	start, latest := time.Now(), time.Time{}
	how(lost)
	noticed := poll(c.effort.detectionLimit, func() bool {
		for _, m := range c.members {
			at, dead := m.death(lost.name)
			if !dead {
				return false
			}
			latest = maxTime(latest, at)
		}
		return true
	})
	took := math.Inf(1)
	if noticed {
		took = latest.Sub(start).Seconds()
	}
	c.result.add(what, took)
	go lost.list.Shutdown() // whose good-bye may hang where writes do
	for _, m := range c.members {
		m.forget(lost.name)
	}
	if err := c.grow(); err != nil {
		return err
	}
	poll(c.effort.detectionLimit, func() bool { return c.complete(c.members[len(c.members)-1:]) })
	return nil
}

// forget keeps a real death from being counted as a false one.
func (m *member) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.deaths, name)
}

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// poll waits until ok, at most for limit.
func poll(limit time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
