package bench

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"crabbox/internal/sshdtest"
)

// What a caller asks the service for: a byte, then how many bytes.
const (
	askDown = 'd' // send me that many
	askUp   = 'u' // take that many and answer with one byte
	askEcho = 'e' // send back what comes
)

// service is the far end: it answers the three questions.
func service(b testing.TB) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	return l.Addr().String()
}

func answer(c net.Conn) {
	defer c.Close()
	var head [9]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return
	}
	n := int64(binary.BigEndian.Uint64(head[1:]))
	buf := make([]byte, 256<<10)
	switch head[0] {
	case askDown:
		for n > 0 {
			w, err := c.Write(buf[:min(int64(len(buf)), n)])
			if err != nil {
				return
			}
			n -= int64(w)
		}
	case askUp:
		for n > 0 {
			r, err := c.Read(buf)
			if err != nil {
				return
			}
			n -= int64(r)
		}
		c.Write([]byte{1})
	case askEcho:
		for {
			r, err := c.Read(buf)
			if err != nil {
				return
			}
			if _, err := c.Write(buf[:r]); err != nil {
				return
			}
		}
	}
}

func ask(b testing.TB, address string, what byte, n int64) net.Conn {
	b.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	head := binary.BigEndian.AppendUint64([]byte{what}, uint64(n))
	if _, err := c.Write(head); err != nil {
		b.Fatal(err)
	}
	return c
}

// move carries n bytes through one stream.
func move(b testing.TB, address string, what byte, n int64) {
	c := ask(b, address, what, n)
	defer c.Close()
	buf := make([]byte, 256<<10)
	if what == askDown {
		for n > 0 {
			r, err := c.Read(buf)
			n -= int64(r)
			if err != nil {
				break
			}
		}
		if n != 0 {
			b.Errorf("%d bytes are missing", n)
		}
		return
	}
	for n > 0 {
		w, err := c.Write(buf[:min(int64(len(buf)), n)])
		if err != nil {
			b.Error(err)
			return
		}
		n -= int64(w)
	}
	if _, err := io.ReadFull(c, buf[:1]); err != nil {
		b.Error(err)
	}
}

const rounds = 5

// sameCipher is what the mesh and stock OpenSSH servers agree upon.
const sameCipher = "aes128-gcm@openssh.com"

// BenchmarkBulk moves the same bytes through both, in turns. x/ssh is the
// throughput over that of ssh -L, cpu/ssh the processor time of the forwarding
// process over that of ssh.
func BenchmarkBulk(b *testing.B) {
	const total = 512 << 20
	for _, peer := range []struct{ name, cipher string }{{"same-cipher", sameCipher}, {"default-cipher", ""}} {
		for _, way := range []struct {
			name string
			what byte
		}{{"down", askDown}, {"up", askUp}} {
			for _, streams := range []int64{1, 4} {
				b.Run(fmt.Sprintf("%s/%s/streams=%d", peer.name, way.name, streams), func(b *testing.B) {
					server := sshdtest.Start(b, sshdtest.Options{})
					target := service(b)
					both := [2]*forwarder{startMesh(b, server, target), startSSH(b, server, target, peer.cipher)}
					for b.Loop() {
						compare(b, both, total, func(f *forwarder) {
							var wg sync.WaitGroup
							for range streams {
								wg.Go(func() { move(b, f.address, way.what, total/streams) })
							}
							wg.Wait()
						})
					}
				})
			}
		}
	}
}

// compare runs work on both in turns and reports the medians of the pairs.
func compare(b *testing.B, both [2]*forwarder, bytes int64, work func(*forwarder)) {
	var speed, cpu, rate []float64
	for round := range rounds + 1 {
		var took, used [2]float64
		for i := range both {
			i := (i + round) % 2 // who is first changes
			cpuBefore, begin := both[i].cpu(b), time.Now()
			work(both[i])
			took[i] = time.Since(begin).Seconds()
			used[i] = (both[i].cpu(b) - cpuBefore).Seconds()
		}
		if round == 0 {
			continue // warm-up
		}
		speed = append(speed, took[1]/took[0])
		cpu = append(cpu, used[0]/max(used[1], 0.01))
		rate = append(rate, float64(bytes)/took[0]/1e6)
	}
	b.ReportMetric(median(speed), "x/ssh")
	b.ReportMetric(median(cpu), "cpu/ssh")
	b.ReportMetric(median(rate), "MB/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRoundTrip sends 64 bytes and waits for them, again and again.
func BenchmarkRoundTrip(b *testing.B) {
	server := sshdtest.Start(b, sshdtest.Options{})
	target := service(b)
	both := [2]*forwarder{startMesh(b, server, target), startSSH(b, server, target, sameCipher)}
	for b.Loop() {
		var p50, p99 []float64
		for round := range rounds + 1 {
			var mid, tail [2]float64
			for i := range both {
				i := (i + round) % 2
				mid[i], tail[i] = roundTrips(b, both[i].address, 3000)
			}
			if round > 0 {
				p50 = append(p50, mid[0]/mid[1])
				p99 = append(p99, tail[0]/tail[1])
			}
		}
		b.ReportMetric(median(p50), "p50/ssh")
		b.ReportMetric(median(p99), "p99/ssh")
		b.ReportMetric(0, "ns/op")
	}
}

// roundTrips returns the 50th and 99th percentile, in seconds.
func roundTrips(b testing.TB, address string, n int) (p50, p99 float64) {
	c := ask(b, address, askEcho, 0)
	defer c.Close()
	var message [64]byte
	took := make([]float64, n)
	for i := range took {
		begin := time.Now()
		if _, err := c.Write(message[:]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, message[:]); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(begin).Seconds()
	}
	slices.Sort(took)
	return took[n/2], took[n*99/100]
}

// BenchmarkConnect opens connections one after the other, from eight callers,
// each with one round trip.
func BenchmarkConnect(b *testing.B) {
	server := sshdtest.Start(b, sshdtest.Options{})
	target := service(b)
	both := [2]*forwarder{startMesh(b, server, target), startSSH(b, server, target, sameCipher)}
	for b.Loop() {
		compare(b, both, 0, func(f *forwarder) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 250 {
						move(b, f.address, askUp, 1)
					}
				})
			}
			wg.Wait()
		})
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
