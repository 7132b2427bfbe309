-- Orthanc: send each series of radiographs to the node once no image has joined it for StableAge seconds.
-- Series by series and by modality: what the node sends back is SR and OT, so nothing goes round in circles,
-- as it would with OnStableStudy, which the node's own report would set off again.
-- By the REST API, as a job of its own: SendToModality takes a single instance, and would wait for the answer.
function OnStableSeries(seriesId, tags, metadata)
  local modality = tags['Modality']
  if modality == 'CR' or modality == 'DX' then
    local order = { Resources = { seriesId }, Synchronous = false }
    RestApiPost('/modalities/cxr-node/store', DumpJson(order, true))
  end
end
