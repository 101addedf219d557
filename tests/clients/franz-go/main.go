// The round trip of ../README.md with franz-go.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const timeout = 60 * time.Second

var codecs = map[string]kgo.CompressionCodec{
	"plain": kgo.NoCompression(), "none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func unhex(text string) []byte {
	if text == "-" {
		return nil
	}
	data, err := hex.DecodeString(text)
	check(err)
	return data
}

func tohex(data []byte) string {
	if data == nil {
		return "-"
	}
	return hex.EncodeToString(data)
}

func number(text string) int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	check(err)
	return value
}

func parse(line string) *kgo.Record {
	field := strings.Split(line, "\t")
	record := &kgo.Record{Timestamp: time.UnixMilli(number(field[0])), Key: unhex(field[1]), Value: unhex(field[2])}
	for _, pair := range strings.FieldsFunc(field[3], func(c rune) bool { return c == ',' }) {
		name, value, _ := strings.Cut(pair, "=")
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: string(unhex(name)), Value: unhex(value)})
	}
	return record
}

func format(record *kgo.Record) string {
	var pairs []string
	for _, header := range record.Headers {
		pairs = append(pairs, tohex([]byte(header.Key))+"="+tohex(header.Value))
	}
	return fmt.Sprintf("%d\t%d\t%s\t%s\t%s\n", record.Offset, record.Timestamp.UnixMilli(), tohex(record.Key),
		tohex(record.Value), strings.Join(pairs, ","))
}

func produce(ctx context.Context, bootstrap, topic, run string, lines []string) {
	options := []kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchMaxBytes(1048576),
		kgo.ProducerBatchCompression(codecs[run])}
	if run == "plain" {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()))
	}
	client, err := kgo.NewClient(options...)
	check(err)
	defer client.Close()
	created, err := kadm.NewClient(client).CreateTopics(ctx, 1, 1, nil, topic)
	check(err)
	check(created[topic].Err)
	var records []*kgo.Record
	for _, line := range lines {
		records = append(records, parse(line))
	}
	check(client.ProduceSync(ctx, records...).FirstErr())
}

func read(ctx context.Context, bootstrap, topic, out string, from kgo.Offset, end int64) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: from}}))
	check(err)
	defer client.Close()
	file, err := os.Create(out)
	check(err)
	writer := bufio.NewWriter(file)
	for next := int64(0); next < end; {
		fetches := client.PollFetches(ctx)
		check(fetches.Err())
		fetches.EachRecord(func(record *kgo.Record) {
			_, err := writer.WriteString(format(record))
			check(err)
			next = record.Offset + 1
		})
	}
	check(writer.Flush())
	check(file.Close())
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*timeout)
	defer cancel()
	mode, bootstrap, out, prefix := os.Args[1], os.Args[2], os.Args[4], os.Args[7]
	fromOffset, fromTime := number(os.Args[5]), number(os.Args[6])
	data, err := os.ReadFile(os.Args[3])
	check(err)
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	end := int64(len(lines))
	for _, run := range os.Args[8:] {
		topic := prefix + "-" + run
		if mode != "consume" {
			produce(ctx, bootstrap, topic, run, lines)
		}
		if mode != "produce" {
			read(ctx, bootstrap, topic, filepath.Join(out, run+".offset"), kgo.NewOffset().At(fromOffset), end)
			read(ctx, bootstrap, topic, filepath.Join(out, run+".time"), kgo.NewOffset().AfterMilli(fromTime), end)
		}
	}
}
