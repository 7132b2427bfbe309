"""Who gets in: what is checked of a connection, an association and a data set before the node says yes.

A connection's way, by the files that it goes through::

    listener        one thread: accept, deadlines, hand over
      arrivals      how many may knock, and who goes when there are too many
      arrival       one connection: TLS handshake, then the bytes of its request
      request       the A-ASSOCIATE-RQ, judged on its bytes and written anew
      callers       version, application context, AE titles, address
      room          a place among the associations, or the wait for one
    association     pynetdicom's association, on two threads of its own
      connection    bytes, PDU by PDU, their length known before their body
      upper_layer   pynetdicom's state machine, fed and timed by us
      clock         timers, and the least rate at which bytes must come
      messages      DIMSE messages put together from their fragments
      command       a command set, judged on its bytes
      sink          the data set of a C-STORE, into the file the spool will keep
    inspect, walk   the structure of a whole data set, before it is answered for

    limits          every number of these
    verdict         how the door says no
    tally           who was turned away, counted and logged
    bell            wakes a thread that waits
"""
